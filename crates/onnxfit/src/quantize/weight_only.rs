//! Weights alone: rounded to the nearest, or with their errors compensated by what calibration data
//! say of the inputs.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_base::Diagnostic;
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::{SaveOptions, SaveReport, TensorSource, save, strip_notes};
use onnxfit_quantize::weights::{Hessian, WeightOnly, WeightOptions};
use onnxfit_quantize::{Choice, Layer, Level};
use onnxfit_runtime::{ElementType, Library, Session};

use super::bench::Bench;
use super::method::{Built, Method, quantize_error};
use crate::Error;
use crate::chain::{cut_down, spec};
use crate::convert::ranges::float_values;
use crate::progress::{Progress, Stage};
use crate::verify::runtime_error;

/// What the sums over inputs of layers that are looked at together may take.
const GROUP_BYTES_MAX: u64 = 512 << 20;
/// A layer with more inputs is rounded to the nearest: the work grows with their cube.
const N_INPUTS_MAX: usize = 8192;

/// Weight-only quantization, as the search sees it.
pub(crate) struct Weights<'a> {
    only: WeightOnly<'a>,
    source: &'a dyn TensorSource,
    notes: Vec<String>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(model: &'a GraphModel, source: &'a dyn TensorSource, smallest: Level) -> Self {
        let options = WeightOptions { smallest, keep: true, ..WeightOptions::default() };
        Self { only: WeightOnly::new(model, source, options), source, notes: Vec::new() }
    }

    /// Runs the float model on every sample and takes in what products multiply with their weights;
    /// a group of layers at a time.
    pub(crate) fn compensate(&mut self, bench: &Bench<'_>, progress: &dyn Progress) -> Result<(), Error> {
        let library = Library::load(bench.library).map_err(runtime_error)?;
        let first = bench.samples.get(0)?;
        let mut sizes: BTreeMap<String, u64> = float_values(&bench.model, &first).into_iter().collect();
        sizes.extend(first.iter().map(|(name, _)| (name.to_owned(), 0)));
        let wanted: Vec<(String, String, usize)> = self
            .only
            .multiplied()
            .into_iter()
            .filter_map(|(layer, value)| {
                let n_inputs = self.only.n_inputs(&layer).filter(|n| *n <= N_INPUTS_MAX)?;
                sizes.contains_key(&value).then_some((layer, value, n_inputs))
            })
            .collect();
        let total = wanted.len() as u64;
        let (mut done, mut n_compensated) = (0, 0);
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            progress.stage(&Stage::Counted { what: "looking at what layers read".to_owned(), done, total });
            let bytes = |(_, value, n): &(String, String, usize)| sizes[value] + 4 * (n * n) as u64;
            let mut taken = 0;
            let n_group = rest.iter().take_while(|each| {
                taken += bytes(each);
                taken <= GROUP_BYTES_MAX
            });
            let (group, others) = rest.split_at(n_group.count().max(1));
            for (layer, hessian) in hessians(bench, library, group)? {
                n_compensated += u64::from(hessian.n_rows() > 0 && self.only.compensate(&layer, &hessian));
            }
            done += group.len() as u64;
            rest = others;
        }
        self.notes.push(format!("{n_compensated} of {total} products have their rounding errors compensated"));
        Ok(())
    }
}

/// What each layer of a group read, over all samples.
fn hessians(
    bench: &Bench<'_>,
    library: &'static Library,
    group: &[(String, String, usize)],
) -> Result<BTreeMap<String, Hessian>, Error> {
    let mut sums: BTreeMap<String, Hessian> =
        group.iter().map(|(layer, _, n)| (layer.clone(), Hessian::new(*n))).collect();
    let first = bench.samples.get(0)?;
    let is_input = |value: &str| first.get(value).is_some();
    let mut made: Vec<&str> =
        group.iter().map(|(_, value, _)| value.as_str()).filter(|value| !is_input(value)).collect();
    made.sort_unstable();
    made.dedup();
    let path = bench.desk.join("inputs.onnx");
    let cut: ModelProto = cut_down(&bench.model.to_proto(), &made);
    let mut session = None;
    if !made.is_empty() {
        std::fs::write(&path, prost::Message::encode_to_vec(&cut)).map_err(|source| Error::Io {
            action: "write",
            path: path.clone(),
            source,
        })?;
        session = Some(Session::open(library, &spec(&path)).map_err(runtime_error)?);
    }
    let fed: Vec<&str> = cut.graph.iter().flat_map(|graph| &graph.input).map(|input| input.name()).collect();
    for index in 0..bench.samples.len() {
        let sample = bench.samples.get(index)?;
        let mut add = |name: &str, numbers: &[f32]| {
            for (layer, _, _) in group.iter().filter(|(_, value, _)| value == name) {
                if let Some(sum) = sums.get_mut(layer) {
                    sum.add(numbers);
                }
            }
        };
        for (name, tensor) in sample.iter().filter(|(_, tensor)| tensor.element_type() == ElementType::Float) {
            let (numbers, _) = tensor.bytes().unwrap_or_default().as_chunks::<4>();
            let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
            add(name, &numbers);
        }
        if let Some(session) = &mut session {
            let inputs = sample.iter().filter(|(name, _)| fed.contains(name));
            let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
            let outputs = session.run_holding(&inputs).map_err(runtime_error)?;
            outputs.floats().for_each(|(name, numbers)| add(name, numbers));
        }
    }
    Ok(sums)
}

impl Method for Weights<'_> {
    fn layers(&self) -> &[Layer] {
        self.only.layers()
    }

    fn build(&self, choice: &Choice) -> Result<Built, Error> {
        let outcome = self.only.build(choice).map_err(quantize_error)?;
        let model = outcome.filled(self.source).map_err(quantize_error)?;
        let mut notes = self.notes.clone();
        if outcome.transient_bytes > 0 {
            let largest = onnxfit_base::Bytes(outcome.transient_bytes);
            notes.push(format!("a run makes float copies of weights, the largest of {largest}"));
        }
        Ok(Built { model, source: None, notes })
    }
}

/// What was done without a run.
pub(crate) struct Unseen {
    pub(crate) layers: Vec<Layer>,
    pub(crate) choice: Choice,
    pub(crate) saved: SaveReport,
}

/// Every weight at its smallest, read and written one at a time; nothing runs.
pub(crate) fn unseen(
    model: &GraphModel,
    source: &dyn TensorSource,
    smallest: Level,
    path: &Path,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Unseen, Error> {
    let options = WeightOptions { smallest, ..WeightOptions::default() };
    let only = WeightOnly::new(model, source, options);
    let layers = only.layers().to_vec();
    let choice: Choice = layers.iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    let outcome = only.build(&choice).map_err(quantize_error)?;
    let mut proto = outcome.model.to_proto();
    strip_notes(&mut proto);
    let saved = save(&proto, path, &SaveOptions::new(&outcome.pieces.source(source)))?;
    let message = "nothing ran: how far the answers moved is not known";
    diagnostics.push(Diagnostic::warning("not-compared", message.to_owned()));
    Ok(Unseen { layers, choice, saved })
}
