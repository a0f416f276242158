//! `run`: a model over a file of inputs of any size, guarded, and resumable.
//!
//! What can be cut is answered chunk by chunk, and each chunk is kept in a folder beside the output
//! until all are there: a run that is interrupted goes on where it was. The output file appears
//! whole or not at all.

mod chunks;
mod part;

use std::path::{Path, PathBuf};
use std::time::Instant;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_report::run::{GuardView, OutputView, RunView};
use onnxfit_runtime::guard::{Counts, Cut, Guard};
use onnxfit_runtime::{Tensors, npz};

use crate::guard::{GuardSetup, guard};
use crate::measure::RunnableCopy;
use crate::progress::{Progress, Stage};
use crate::request::Request;
use crate::{Error, Model};
use chunks::Chunks;
use part::Part;

/// What is run, and where the answer goes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// A `.npz` of inputs by name; or any file or folder of arrays with a row for each sample.
    pub inputs: PathBuf,
    /// The `.npz` to write.
    pub output: PathBuf,
    /// How the session is guarded.
    pub guard: GuardSetup,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// Forget what an interrupted run has left.
    pub restart: bool,
}

/// Runs a model over all inputs and writes the outputs.
pub fn run(model: &Model, request: &Request, options: &RunOptions, progress: &dyn Progress) -> Result<RunView, Error> {
    let copy = RunnableCopy::make(model, options.random_weights, progress)?;
    let (mut guard, diagnostics) = guard(copy.model(), request, &options.guard, progress)?;
    progress.doing("opening the inputs");
    let names: Vec<String> = guard.session().inputs().iter().map(|input| input.name.clone()).collect();
    let chunks = Chunks::open(&options.inputs, &names, guard.cut())?;
    let outputs_chain = guard.cut().is_some_and(|cut| chain(cut, &guard));
    let began = Instant::now();
    let answered = match (chunks, outputs_chain) {
        (Chunks::Whole(inputs), _) => whole(&mut guard, &inputs, &options.output)?,
        (Chunks::InMemory { inputs, n_rows }, false) => {
            Answered { n_rows: Some(n_rows), ..whole(&mut guard, &inputs, &options.output)? }
        }
        (chunks, true) => by_chunks(&mut guard, &chunks, model, request, options, progress)?,
        (Chunks::Streamed(_), false) => {
            let hint = "give them as one `.npz`, which is run as one request".to_owned();
            let message = "the inputs are a stream of rows, but this model's outputs are not".to_owned();
            return Err(Error::Runtime { message, hint: Some(hint) });
        }
    };
    let counts = guard.counts();
    Ok(RunView {
        schema: "onnxfit.run/1",
        model: model.name(),
        n_rows: answered.n_rows.filter(|_| guard.cut().is_some()),
        n_rows_resumed: answered.n_resumed,
        batch_dim: guard.cut().map(|cut| cut.dim.clone()),
        guard: guard_view(&guard, counts),
        seconds: began.elapsed().as_secs_f64(),
        output: options.output.display().to_string(),
        outputs: answered.outputs,
        diagnostics: diagnostics.iter().chain(&answered.diagnostics).map(Into::into).collect(),
    })
}

/// What was answered.
#[derive(Default)]
struct Answered {
    n_rows: Option<u64>,
    n_resumed: u64,
    outputs: Vec<OutputView>,
    diagnostics: Vec<Diagnostic>,
}

/// Whether the outputs of chunks, one after the other, are the output of all: rows along the first
/// axis, or none, and no texts.
fn chain(cut: &Cut, guard: &Guard) -> bool {
    guard.session().outputs().iter().all(|output| {
        let is_plain = output.element_type.is_some_and(|kind| kind.packed_bytes(8).is_some_and(|bytes| bytes >= 8));
        is_plain && cut.outputs.get(&output.name).is_none_or(|axis| *axis == 0)
    })
}

/// One request.
fn whole(guard: &mut Guard, inputs: &Tensors, output: &Path) -> Result<Answered, Error> {
    let n_rows = guard.rows(inputs);
    let outputs = guard.run(inputs)?;
    npz::write(output, &outputs).map_err(npz_error)?;
    let views = outputs.iter().map(|(name, tensor)| OutputView {
        name: name.to_owned(),
        element_type: tensor.element_type().to_string(),
        shape: tensor.shape().to_vec(),
    });
    Ok(Answered { n_rows: Some(n_rows), outputs: views.collect(), ..Answered::default() })
}

/// Chunk by chunk, going on where an earlier run was interrupted.
fn by_chunks(
    guard: &mut Guard,
    chunks: &Chunks,
    model: &Model,
    request: &Request,
    options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Answered, Error> {
    let n_rows = chunks.n_rows();
    let key = key(model, request, options, n_rows)?;
    let mut part = Part::open(&options.output, &key, options.restart)?;
    let n_resumed = part.n_rows();
    if n_resumed > 0 {
        progress.said(&format!("going on at row {n_resumed} of {n_rows}"));
    }
    for chunk in chunks.from(n_resumed, guard.cut())? {
        progress.stage(&Stage::Counted { what: "rows".to_owned(), done: part.n_rows(), total: n_rows });
        let (rows, inputs) = chunk?;
        let outputs = guard.run(&inputs)?;
        part.append(rows, guard.cut(), &outputs)?;
    }
    let outputs = part.finish(&options.output)?;
    Ok(Answered { n_rows: Some(n_rows), n_resumed, outputs, ..Answered::default() })
}

/// What must be the same for an interrupted run to be gone on with.
fn key(model: &Model, request: &Request, options: &RunOptions, n_rows: u64) -> Result<String, Error> {
    let metadata = |path: &Path| {
        let read = std::fs::metadata(path);
        read.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })
    };
    let stamp = |path: &Path| -> Result<String, Error> {
        let metadata = metadata(path)?;
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(format!("{} {} {}", path.display(), metadata.len(), changed.map_or(0, |since| since.as_nanos())))
    };
    let weights = options.random_weights;
    let (model, inputs) = (stamp(model.file().path())?, stamp(&options.inputs)?);
    Ok(format!("{model}; {weights:?}; {inputs}; {n_rows}; {}", request.provider.as_str()))
}

fn guard_view(guard: &Guard, counts: Counts) -> GuardView {
    let stats = guard.session().arena_stats().ok();
    GuardView {
        n_runs: counts.runs,
        n_out_of_memory: counts.out_of_memory,
        n_shrinks: counts.shrinks,
        n_probes: counts.probes,
        limit_bytes: guard.limit().map(Into::into),
        held_bytes: stats.map(|stats| stats.in_use.into()),
        peak_bytes: stats.map(|stats| stats.max_in_use.into()),
    }
}

fn npz_error(error: npz::NpzError) -> Error {
    Error::Runtime { message: error.to_string(), hint: None }
}

/// The most bytes of inputs that are answered and kept at once.
const CHUNK_BYTES: Bytes = Bytes::mib(32);

#[cfg(test)]
mod tests;
