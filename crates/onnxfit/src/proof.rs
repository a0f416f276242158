//! What the proof of a plan runs: both models, on as many rows as this machine can take.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_base::Bytes;
use onnxfit_graph::Model as GraphModel;
use onnxfit_report::fix::VerifyView;
use onnxfit_runtime::verify::Exactness;
use onnxfit_runtime::{ArenaConfig, ArenaExtend, ElementType, SessionSpec};
use onnxfit_shape::{Bindings, infer};

use crate::artifacts::{BatchFile, SessionFile};
use crate::progress::Progress;
use crate::request::{Provider, Request};
use crate::twin::Twin;
use crate::verify::{Proof, Side, VerifyInputs, inputs, prove};
use crate::{Error, sizes, weights};

/// Rows that are enough to see a wrong row: more only costs time.
const ROWS_ENOUGH: i64 = 4;

/// What is to be proved.
pub(crate) struct ProofRequest<'a> {
    pub(crate) model: &'a GraphModel,
    pub(crate) request: &'a Request,
    pub(crate) dims: &'a BTreeMap<String, i64>,
    pub(crate) session: &'a SessionFile,
    pub(crate) original: &'a Path,
    pub(crate) fitted: &'a Path,
    pub(crate) exactness: Exactness,
    pub(crate) from: &'a VerifyInputs,
    pub(crate) library: &'a Path,
    pub(crate) worker: &'a Path,
}

/// Runs the original and the fitted model on the CPU provider and compares their answers.
pub(crate) fn prove_plan(proof: &ProofRequest<'_>, progress: &dyn Progress) -> Result<VerifyView, Error> {
    let mut dims = proof.dims.clone();
    let batch_dim = proof.session.batch.as_ref().and_then(|batch| batch_dim(proof.model, batch));
    if let (Provider::Cuda, Some(name)) = (proof.request.provider, &batch_dim) {
        let rows = dims.get(name).copied().unwrap_or(1);
        dims.insert(name.clone(), rows_that_run(proof, name, rows.min(ROWS_ENOUGH)));
    }
    let shapes = input_shapes(proof.model, &dims, proof.request);
    let tensors = inputs(proof.from, &shapes, weights::vocab_size(proof.model))?;
    // The batch is cut in the proof too, so that joining is proved with it.
    let batch = proof.session.batch.as_ref().map(|batch| {
        let rows = batch_dim.as_ref().and_then(|name| dims.get(name)).copied().unwrap_or(1);
        let rows = u64::try_from(rows).unwrap_or(1);
        BatchFile { max_rows: batch.max_rows.min(rows.div_ceil(2)).max(1), ..batch.clone() }
    });
    let original = Side { spec: spec(proof, proof.original, false), batch: None };
    let fitted = Side { spec: spec(proof, proof.fitted, true), batch: batch.as_ref() };
    let shown: Vec<String> = dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let pieces = batch.as_ref().map_or_else(String::new, |batch| format!(" in pieces of {} rows", batch.max_rows));
    let source = match proof.from {
        VerifyInputs::Seeded(seed) => format!("inputs made up from seed {seed}"),
        VerifyInputs::File(path) => format!("the inputs of {}", path.display()),
    };
    prove(
        Proof {
            worker: proof.worker,
            library: proof.library,
            exactness: proof.exactness,
            how: format!(
                "original and fitted model{pieces} ran on the CPU provider with {source}, {}",
                shown.join(" ")
            ),
        },
        &original,
        &fitted,
        &tensors,
        progress,
    )
}

/// The dimension name that stands at the batch's axis of an input.
fn batch_dim(model: &GraphModel, batch: &BatchFile) -> Option<String> {
    let (name, axis) = batch.inputs.iter().next()?;
    let value = model.graph.value(model.graph.value_named(name)?);
    match value.ty.as_tensor()?.shape.as_ref()?.get(*axis)? {
        onnxfit_graph::Dim::Symbol(symbol) => Some(symbol.clone()),
        _ => None,
    }
}

/// As many rows as fit half of this machine's free memory, at least one.
fn rows_that_run(proof: &ProofRequest<'_>, dim: &str, wanted: i64) -> i64 {
    let free = free_memory();
    let request = Request { provider: Provider::Cpu, target: None, arena_limit: None, ..proof.request.clone() };
    let twin = Twin::new(proof.model, &request);
    let mut rows = wanted;
    while rows > 1 {
        let mut dims = proof.dims.clone();
        dims.insert(dim.to_owned(), rows);
        let needed = twin.ask_sequence(&[dims], twin.request_levers(), None).band.expected;
        if needed.get() <= free.get() / 2 {
            break;
        }
        rows /= 2;
    }
    rows.max(1)
}

/// `MemAvailable` of this machine; a modest guess where the system does not tell.
pub(crate) fn free_memory() -> Bytes {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    Bytes(kib.map_or(4 << 30, |kib| kib.saturating_mul(1024)))
}

/// Concrete shapes of everything that must be fed.
pub(crate) fn input_shapes(
    model: &GraphModel,
    dims: &BTreeMap<String, i64>,
    request: &Request,
) -> BTreeMap<String, (ElementType, Vec<i64>)> {
    let bindings = Bindings {
        dims: dims.clone(),
        inputs: request.shapes.clone(),
        values: sizes::known_values(&model.graph, dims),
        ..Bindings::default()
    };
    let facts = infer(model, &bindings).graph;
    let mut shapes = BTreeMap::new();
    for id in model.graph.required_inputs() {
        let fact = facts.fact(id);
        let element_type = fact.element_type.and_then(|element_type| ElementType::from_onnx(element_type.number()));
        if let (Some(element_type), Some(shape)) = (element_type, fact.concrete()) {
            let shape = shape.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
            shapes.insert(model.graph.value(id).name.clone(), (element_type, shape));
        }
    }
    shapes
}

/// The session of one side. The fitted one runs with its own options; a cap on the CPU arena binds
/// the fitted model only, for the original is what does not fit under it.
fn spec(proof: &ProofRequest<'_>, model: &Path, fitted: bool) -> SessionSpec {
    let mut spec = SessionSpec::new(model);
    spec.optimization = proof.request.optimization.into();
    if fitted {
        spec.mem_pattern = proof.session.session_options.enable_mem_pattern;
        if let Some(arena) = &proof.session.cpu_arena {
            spec.intra_op_threads = Some(proof.request.n_threads);
            spec.cpu_arena = Some(ArenaConfig {
                limit: arena.get("max_mem").copied().map(Bytes),
                extend: arena.get("arena_extend_strategy").map(|_| ArenaExtend::Same),
                initial_chunk: arena.get("initial_chunk_size_bytes").copied().map(Bytes),
                dead_per_chunk_max: arena.get("max_dead_bytes_per_chunk").copied().map(Bytes),
                ..ArenaConfig::default()
            });
        }
    }
    spec
}
