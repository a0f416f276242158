//! Runs of the models that pruning compares, each in a worker process.

use std::path::{Path, PathBuf};

use onnxfit_base::Bytes;
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::{ModelProto, ValueInfoProto};
use onnxfit_onnx::{DataType, ModelFile, SaveOptions, TensorSource, save, tensors_mut};
use onnxfit_prune::{CuttingSource, Pruned};
use onnxfit_report::fix::VerifyView;
use onnxfit_runtime::verify::{Comparison, Exactness, compare};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{Meter, OptimizationLevel, SessionSpec, Tensors};

use super::Base;
use crate::convert::worst;
use crate::progress::Progress;
use crate::samples::Samples;
use crate::session_spec::session_spec;
use crate::verify::runtime_error;
use crate::{Error, Request};

/// Sets of inputs that proofs and sensitivities are run on.
const N_SAMPLES_MAX: usize = 4;

pub(super) struct Runs<'a> {
    pub(super) library: &'a Path,
    pub(super) worker: &'a Path,
    pub(super) desk: &'a Path,
    pub(super) samples: &'a Samples,
}

impl Runs<'_> {
    pub(super) fn n_samples(&self) -> usize {
        self.samples.len().min(N_SAMPLES_MAX)
    }

    pub(super) fn client(&self) -> Result<Client, Error> {
        Client::spawn(self.worker, &["__worker"]).map_err(runtime_error)
    }

    /// A variant of the base model beside it: only what differs is written again.
    pub(super) fn variant(
        &self,
        name: &str,
        made: &Pruned,
        base: &ModelFile,
        outputs: &[String],
    ) -> Result<PathBuf, Error> {
        let mut proto = made.model.to_proto();
        let source = CuttingSource::new(base.weights(), &made.cuts);
        give_back(&mut proto, outputs);
        let path = self.desk.join(name);
        // Weights may be attributes of `Constant` nodes as well.
        for (tensor, _) in tensors_mut(&mut proto) {
            if made.cuts.waits(tensor)? {
                let bytes = source.tensor_bytes(tensor)?;
                tensor.set_raw(bytes);
            }
        }
        let is_large = proto.graph.iter().flat_map(|graph| &graph.initializer).any(|tensor| tensor.is_external());
        if is_large {
            // What was not cut stays where the base has it.
            use prost::Message as _;
            std::fs::write(&path, proto.encode_to_vec()).map_err(|source| Error::Io {
                action: "write",
                path: path.clone(),
                source,
            })?;
        } else {
            save(&proto, &path, &SaveOptions::new(&source))?;
        }
        Ok(path)
    }

    /// What a model answers to each of some sets of inputs.
    pub(super) fn answers(
        &self,
        path: &Path,
        level: OptimizationLevel,
        n_samples: usize,
    ) -> Result<Vec<Tensors>, Error> {
        let mut client = self.client()?;
        let spec = SessionSpec { optimization: level, ..SessionSpec::new(path) };
        client.open(self.library, &spec).map_err(runtime_error)?;
        (0..n_samples).map(|index| Ok(client.run(&self.samples.get(index)?).map_err(runtime_error)?.outputs)).collect()
    }

    /// Holds the pruned model against the masked one.
    pub(super) fn prove(
        &self,
        base: &Base,
        masked: &Pruned,
        made: &Pruned,
        values: &[String],
    ) -> Result<VerifyView, Error> {
        let n = self.n_samples();
        let before = self.variant("masked.onnx", masked, &base.file, values)?;
        let after = self.variant("pruned.onnx", made, &base.file, values)?;
        let before = self.answers(&before, OptimizationLevel::Basic, n)?;
        let after = self.answers(&after, OptimizationLevel::Basic, n)?;
        let exactness = exactness(&made.model);
        let comparisons: Vec<Comparison> =
            before.iter().zip(&after).map(|(before, after)| compare(before, after, exactness)).collect();
        let how = format!(
            "against the whole model with the same weights set to zero, on the CPU provider with {}",
            self.samples.text()
        );
        Ok(view(&comparisons, how))
    }

    /// Holds what is written against the original: how far the answers moved.
    pub(super) fn drift(&self, original: &Path, pruned: &Path, progress: &dyn Progress) -> Result<VerifyView, Error> {
        progress.doing("comparing with the original");
        let n = self.n_samples();
        let before = self.answers(original, OptimizationLevel::All, n)?;
        let after = self.answers(pruned, OptimizationLevel::All, n)?;
        let comparisons: Vec<Comparison> =
            before.iter().zip(&after).map(|(before, after)| compare(before, after, Exactness::Quantized)).collect();
        Ok(view(
            &comparisons,
            format!("original and pruned model ran on the CPU provider with {}", self.samples.text()),
        ))
    }

    /// The CPU arena's peak of a run, weights included, as ONNX Runtime counts it.
    pub(super) fn arena_peak(&self, path: &Path, request: &Request) -> Result<Option<Bytes>, Error> {
        const N_RUNS: usize = 3;
        let mut client = self.client()?;
        let spec = SessionSpec { meter: Meter::ArenaEachRun, ..session_spec(path, request) };
        client.open(self.library, &spec).map_err(runtime_error)?;
        let inputs = self.samples.get(0)?;
        let mut most = None;
        for _ in 0..N_RUNS {
            let measured = client.measure(&inputs).map_err(runtime_error)?.measured;
            let peak = measured.trace.map(|trace| trace.peak_in_use);
            most = most.max(peak.or(measured.arena.map(|arena| arena.max_in_use)));
        }
        Ok(most)
    }
}

/// Lets a model give back these values.
fn give_back(proto: &mut ModelProto, values: &[String]) {
    let Some(graph) = proto.graph.as_mut().filter(|_| !values.is_empty()) else { return };
    let declared = std::mem::take(&mut graph.output);
    graph.output = values
        .iter()
        .map(|name| {
            let known = declared.iter().find(|output| output.name() == *name).cloned();
            known.unwrap_or_else(|| ValueInfoProto { name: Some(name.clone()), ..Default::default() })
        })
        .collect();
}

/// Sums in another order round otherwise; how much depends on the type, and rounding to eight bits
/// in between makes a step of it.
fn exactness(model: &GraphModel) -> Exactness {
    let graph = &model.graph;
    let is_quantized = graph.nodes().any(|(_, node)| node.op_type.contains("QuantizeLinear"));
    let is_half = graph.values().any(|(id, _)| {
        let tensor = graph.constant_tensor(id);
        tensor.is_some_and(|tensor| {
            matches!(tensor.element_type(), Ok(DataType::Float16 | DataType::Bfloat16)) && !tensor.dims.is_empty()
        })
    });
    match (is_quantized, is_half) {
        (true, _) => Exactness::Quantized,
        (false, true) => Exactness::Half,
        _ => Exactness::Exact,
    }
}

fn view(comparisons: &[Comparison], how: String) -> VerifyView {
    let tolerance = comparisons.first().map(|comparison| comparison.tolerance);
    let tolerance =
        tolerance.map_or(String::new(), |tolerance| format!("relative L2 at most {:e}", tolerance.relative_l2));
    let agrees = comparisons.iter().all(|comparison| comparison.agrees);
    VerifyView { agrees, how, tolerance, outputs: worst(comparisons) }
}
