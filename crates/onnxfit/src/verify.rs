//! The proof: the original and the fitted model run on the same inputs, each in a process of its
//! own, and their answers are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_report::fix::{OutputView, VerifyView};
use onnxfit_runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit_runtime::verify::{Comparison, Exactness, OutputComparison, compare};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{ElementType, RunError, SessionSpec, Tensor, Tensors, npz};

use crate::Error;
use crate::artifacts::BatchFile;
use crate::by_choice::{ByChoice, Runner};
use crate::progress::Progress;

/// Where the inputs of the proof come from.
#[derive(Clone, Debug)]
pub enum VerifyInputs {
    /// Made up from a seed, each as its name and type suggest.
    Seeded(u64),
    /// An `.npz` file with one array for each input.
    File(PathBuf),
}

/// One model to be run.
pub(crate) struct Side<'a> {
    pub(crate) spec: SessionSpec,
    pub(crate) batch: Option<&'a BatchFile>,
}

/// How a proof is made.
pub(crate) struct Proof<'a> {
    /// The program that serves runs when started with `__worker`.
    pub(crate) worker: &'a Path,
    /// The ONNX Runtime library.
    pub(crate) library: &'a Path,
    /// The kind of change.
    pub(crate) exactness: Exactness,
    /// What is done, in words.
    pub(crate) how: String,
}

/// Runs both sides and compares.
pub(crate) fn prove(
    proof: Proof<'_>,
    original: &Side<'_>,
    fitted: &Side<'_>,
    inputs: &Tensors,
    progress: &dyn Progress,
) -> Result<VerifyView, Error> {
    progress.doing("running the original model");
    let before = run_side(&proof, original, inputs)?;
    progress.doing("running the fitted model");
    let after = run_side(&proof, fitted, inputs)?;
    let plain = compare(&before, &after, proof.exactness);
    if !plain.agrees
        && let Some((by_choice, n_given)) = prove_by_choice(&proof, original, fitted, inputs)
    {
        return Ok(verify_view(&by_choice, proof.how + &crate::by_choice::said(Some(n_given))));
    }
    Ok(verify_view(&plain, proof.how))
}

/// The comparison where the fitted model is given the original's choices, and how many there are; `None`
/// where that is not asked for or cannot be done.
fn prove_by_choice(
    proof: &Proof<'_>,
    original: &Side<'_>,
    fitted: &Side<'_>,
    inputs: &Tensors,
) -> Option<(Comparison, usize)> {
    let is_whole = original.batch.is_none() && fitted.batch.is_none();
    if !is_whole || matches!(proof.exactness, Exactness::BitIdentical | Exactness::Exact) {
        return None;
    }
    let home = fitted.spec.model.parent()?;
    let mut run = |path: &Path, inputs: &[Tensors]| -> Result<Vec<Tensors>, RunError> {
        let mut client = Client::spawn(proof.worker, &["__worker"])?;
        client.open(proof.library, &SessionSpec::new(path))?;
        inputs.iter().map(|inputs| Ok(client.run(inputs)?.outputs)).collect()
    };
    let mut runner = Runner(&mut run);
    let inputs = std::slice::from_ref(inputs);
    let by_choice = ByChoice::begin(&original.spec.model, home, inputs, &mut runner).ok().flatten()?;
    let judge = |before: &Tensors, after: &Tensors| compare(before, after, proof.exactness);
    let mut judged = by_choice.judge(&fitted.spec.model, inputs, &mut runner, &judge).ok().flatten()?;
    Some((judged.pop()?, by_choice.len()))
}

fn run_side(proof: &Proof<'_>, side: &Side<'_>, inputs: &Tensors) -> Result<Tensors, Error> {
    let mut client = Client::spawn(proof.worker, &["__worker"]).map_err(runtime_error)?;
    client.open(proof.library, &side.spec).map_err(runtime_error)?;
    let Some(batch) = side.batch else {
        return Ok(client.run(inputs).map_err(runtime_error)?.outputs);
    };
    let mut pieces = Vec::new();
    for piece in cut(inputs, batch)? {
        pieces.push(client.run(&piece).map_err(runtime_error)?.outputs);
    }
    join(&pieces, batch)
}

/// Cuts a request into as few and as even pieces as its batch allows, as `run.py` does.
pub(crate) fn cut(inputs: &Tensors, batch: &BatchFile) -> Result<Vec<Tensors>, Error> {
    let mut n_rows = 0;
    for (name, axis) in &batch.inputs {
        let tensor = inputs.get(name).ok_or_else(|| missing(name))?;
        n_rows = n_rows.max(tensor.shape().get(*axis).copied().unwrap_or(0));
    }
    let n_pieces = n_rows.div_ceil(batch.max_rows).max(1);
    let step = n_rows.div_ceil(n_pieces).max(1);
    let mut pieces = Vec::new();
    for start in (0..n_rows.max(1)).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let mut piece = Tensors::new();
        for (name, tensor) in inputs.iter() {
            let part = match batch.inputs.get(name) {
                Some(axis) => tensor.slice(*axis, start..(start + step).min(n_rows)),
                None => Some(tensor.clone()),
            };
            piece.insert(name, part.ok_or_else(|| missing(name))?);
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Joins the answers of pieces in order.
fn join(pieces: &[Tensors], batch: &BatchFile) -> Result<Tensors, Error> {
    let mut joined = Tensors::new();
    let Some(first) = pieces.first() else { return Ok(joined) };
    for (name, tensor) in first.iter() {
        let whole = match batch.outputs.get(name) {
            None => Some(tensor.clone()),
            Some(axis) => {
                let parts: Option<Vec<&Tensor>> = pieces.iter().map(|piece| piece.get(name)).collect();
                parts.and_then(|parts| Tensor::concatenate(&parts, *axis))
            }
        };
        joined.insert(name, whole.ok_or_else(|| missing(name))?);
    }
    Ok(joined)
}

/// The inputs of a proof, for these concrete shapes.
pub(crate) fn inputs(
    from: &VerifyInputs,
    shapes: &BTreeMap<String, (ElementType, Vec<i64>)>,
    vocab_size: Option<u64>,
) -> Result<Tensors, Error> {
    match from {
        VerifyInputs::File(path) => {
            npz::read(path).map_err(|error| Error::Runtime { message: error.to_string(), hint: None })
        }
        VerifyInputs::Seeded(seed) => {
            let specs: Vec<InputSpec> = shapes
                .iter()
                .map(|(name, (element_type, shape))| InputSpec {
                    name: name.clone(),
                    element_type: *element_type,
                    shape: shape.clone(),
                    role: None,
                })
                .collect();
            make(&specs, InputOptions { seed: *seed, vocab_size }).map_err(|error| Error::Runtime {
                message: error.to_string(),
                hint: Some("give the inputs with `--inputs x.npz`".to_owned()),
            })
        }
    }
}

fn missing(name: &str) -> Error {
    Error::Runtime { message: format!("`{name}` does not have the batch's axis"), hint: None }
}

pub(crate) fn runtime_error(error: RunError) -> Error {
    Error::Runtime { hint: error.hint().map(str::to_owned), message: error.to_string() }
}

/// A comparison as answers show it.
pub(crate) fn verify_view(comparison: &Comparison, how: String) -> VerifyView {
    let tolerance = &comparison.tolerance;
    VerifyView {
        agrees: comparison.agrees,
        how,
        tolerance: format!(
            "relative L2 at most {:e}, no element off by more than {:e} of the largest, top-1 agreement at least {}",
            tolerance.relative_l2, tolerance.share_of_largest, tolerance.top1_agreement
        ),
        outputs: comparison.outputs.iter().map(output_view).collect(),
    }
}

/// How one output compares, as answers show it.
pub(crate) fn output_view(output: &OutputComparison) -> OutputView {
    OutputView {
        name: output.name.clone(),
        max_absolute_error: output.max_absolute_error,
        relative_l2: output.relative_l2,
        cosine: output.cosine,
        top1_agreement: output.top1_agreement,
        problem: output.problem.clone(),
    }
}
