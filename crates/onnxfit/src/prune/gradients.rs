//! Gradients of the answers with respect to the weights, for the importance of channels.
//!
//! No labels are needed: scores are held against the class that the model itself gives most, other
//! answers by their squares.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_onnx::{SaveOptions, TensorSource, save};
use onnxfit_prune::CuttingSource;
use onnxfit_runtime::{ElementType, OptimizationLevel, SessionSpec, Tensor, Tensors};
use onnxfit_train::{GradientOptions, Loss, LossKind, LossTerm, Missing, differentiate, trainable_parameters};

use super::{Job, rewrite};
use crate::Error;
use crate::progress::Stage;
use crate::verify::runtime_error;

/// What the names of target inputs begin with.
const TARGET: &str = "onnxfit/target of ";

/// By weight, summed over the samples.
pub(super) fn gradients(job: &Job<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<BTreeMap<String, Vec<f32>>, Error> {
    let (model, cuts) = (&job.analysis.model, &job.analysis.cuts);
    let source = CuttingSource::new(job.base.file.weights(), cuts);
    let n_samples = job.runs.n_samples();
    let answers = job.runs.answers(job.base.probe.path(), OptimizationLevel::All, n_samples)?;
    let mut loss = Loss::default();
    for (name, tensor) in answers.first().into_iter().flat_map(Tensors::iter) {
        if tensor.element_type().is_float() {
            let target = format!("{TARGET}{name}");
            loss.terms.push(if is_scores(tensor) {
                LossTerm::new(LossKind::CrossEntropy { class_axis: -1, ignore_index: None }, name, &target)
            } else {
                LossTerm::new(LossKind::SquaredError, name, &target)
            });
        }
    }
    let objective = loss.add_to(model).map_err(|error| rewrite(&error))?;
    let parameters = trainable_parameters(model);
    let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
    let options = GradientOptions { missing: Missing::Freeze, ..GradientOptions::default() };
    let made =
        differentiate(&objective.model, &objective.loss, &parameters, &options).map_err(|error| rewrite(&error))?;
    if !made.cut_off.is_empty() {
        let message =
            format!("{} operators have no gradient; weights behind them are compared by size", made.cut_off.len());
        diagnostics.push(Diagnostic::note("no-gradient", message));
    }
    let path = job.runs.desk.join("gradients.onnx");
    save(&made.model.to_proto(), &path, &SaveOptions::new(&source))?;
    let mut client = job.runs.client()?;
    client.open(job.runs.library, &SessionSpec::new(&path)).map_err(runtime_error)?;
    let mut fixed = Tensors::new();
    for gradient in &made.gradients {
        let value = model.graph.value_named(&gradient.parameter).map(|id| model.graph.value(id));
        let Some(tensor) = value.and_then(|value| value.tensor()) else { continue };
        let Some(element_type) = ElementType::from_onnx(tensor.data_type.unwrap_or(0)) else { continue };
        let shape = tensor.dims.iter().map(|dim| u64::try_from(*dim).unwrap_or(0)).collect();
        let bytes = source.tensor_bytes(tensor)?.to_vec();
        let tensor = Tensor::from_bytes(element_type, shape, bytes).map_err(|error| rewrite(&error))?;
        fixed.insert(gradient.parameter.clone(), tensor);
    }
    for term in &objective.terms {
        let one = Tensor::from_f32(Vec::new(), &[1.0]).map_err(|error| rewrite(&error))?;
        fixed.insert(term.scale.clone(), one);
    }
    let wanted: Vec<String> =
        made.model.graph.required_inputs().map(|id| made.model.graph.value(id).name.clone()).collect();
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (index, answer) in answers.iter().enumerate() {
        let what = "computing gradients".to_owned();
        job.progress.stage(&Stage::Counted { what, done: index as u64, total: n_samples as u64 });
        let mut inputs = fixed.clone();
        for (name, tensor) in job.runs.samples.get(index)?.iter() {
            inputs.insert(name.to_owned(), tensor.clone());
        }
        for (name, tensor) in answer.iter() {
            if let Some(target) = target(tensor) {
                inputs.insert(format!("{TARGET}{name}"), target);
            }
        }
        let inputs: Tensors = inputs
            .iter()
            .filter(|(name, _)| wanted.iter().any(|wanted| wanted == name))
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        let outputs = client.run(&inputs).map_err(runtime_error)?.outputs;
        for gradient in &made.gradients {
            let Some(numbers) = outputs.get(&gradient.output).and_then(Tensor::values) else { continue };
            let sum = sums.entry(gradient.parameter.clone()).or_insert_with(|| vec![0.0; numbers.len()]);
            sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number as f32);
        }
    }
    Ok(sums)
}

/// Whether the last axis looks like classes.
fn is_scores(tensor: &Tensor) -> bool {
    tensor.shape().len() == 2 && tensor.shape()[1] > 1
}

/// The class with the most for scores, zero for the rest: what the squares are held against.
fn target(tensor: &Tensor) -> Option<Tensor> {
    let values = tensor.values()?;
    if !is_scores(tensor) {
        return Tensor::from_f64(tensor.element_type(), tensor.shape().to_vec(), &vec![0.0; values.len()])?.ok();
    }
    let n_classes = usize::try_from(tensor.shape()[1]).ok()?;
    let largest = |row: &[f64]| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        best.map_or(0, |(index, _)| index as i64)
    };
    let labels: Vec<i64> = values.chunks_exact(n_classes).map(largest).collect();
    Tensor::from_i64(vec![labels.len() as u64], &labels).ok()
}
