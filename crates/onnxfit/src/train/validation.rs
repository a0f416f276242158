//! Samples that a model does not learn from: after each pass it is asked for them, in a session of
//! its own, and it is written as it was when their loss was least.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_data::{BatchOptions, Position, Source};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::{SaveOptions, save};
use onnxfit_report::train::{ValidationPoint, ValidationView};
use onnxfit_runtime::{Session, SessionSpec, Tensor, Tensors};
use onnxfit_train::{Checkpoint, Checkpoints, DataInput, Feeds, FitError, LossKind, TermNames, specialize};

use super::distill::{data_inputs, with_outputs};
use super::prepare::{
    BatchDim, ResultModel, loss_kind, loss_of, loss_value, open_source, sample_shapes, target_input, target_name,
    train_error, with_bytes,
};
use super::{Job, stopped};
use crate::Error;
use crate::session_spec::session_spec;
use crate::verify::runtime_error;

/// The folder of the best parameters, in that of the checkpoints.
const BEST: &str = "best";

/// Asks a model in training for samples that it does not learn from.
pub(super) struct Validation<'a> {
    job: &'a Job<'a>,
    result: &'a ResultModel,
    data: PathBuf,
    source: Source,
    /// The model with its loss; its outputs are the value that the loss looks at, sum and count.
    model: GraphModel,
    value: String,
    term: TermNames,
    /// The input that takes the targets.
    target: String,
    /// Which field feeds which input.
    map: BTreeMap<String, String>,
    kind: LossKind,
    batch: u64,
    /// Whether the model takes whole batches only.
    drops_last: bool,
    /// Where the model is written to be asked.
    path: PathBuf,
    checkpoints: Checkpoints,
    points: Vec<ValidationPoint>,
    best: Option<Best>,
}

/// The parameters with the least loss so far.
struct Best {
    step: u64,
    loss: f64,
    parameters: BTreeMap<String, Tensor>,
}

/// Where a run stands when its validation is made.
pub(super) struct Standing<'a> {
    /// The folder of the run's checkpoints.
    pub(super) checkpoints: &'a Path,
    /// The step that it goes on from.
    pub(super) step: Option<u64>,
    /// Validations before that step.
    pub(super) points: Vec<ValidationPoint>,
    /// Samples that fit at once.
    pub(super) micro_batch: u64,
    /// A folder for the model.
    pub(super) desk: &'a Path,
}

impl<'a> Validation<'a> {
    /// Opens the samples; what is wrong with them is said before the first step.
    pub(super) fn new(
        job: &'a Job<'a>,
        result: &'a ResultModel,
        batch: &BatchDim,
        data: &Path,
        standing: Standing<'_>,
    ) -> Result<Self, Error> {
        let options = job.options;
        let base = &result.model;
        let source = open_source(base, data, options)?;
        let target_field = target_name(base, source.schema(), options)?;
        let target = target_input(base, &target_field);
        let mut map = options.map.clone();
        map.insert(target.clone(), target_field.clone());
        let model = with_bytes(base.clone(), source.schema(), &map, &options.pixels)?;
        let samples = sample_shapes(&model, source.schema(), &map);
        let specialized = specialize(&model, &samples).map_err(train_error)?;
        let value = loss_value(base, options)?;
        let objective = loss_of(base, options, &target_field)?.add_to(&specialized.model).map_err(train_error)?;
        let Some(term) = objective.terms.first().cloned() else {
            return Err(Error::Train { message: "there is no loss to validate with".to_owned(), hint: None });
        };
        let outputs: Vec<String> =
            [Some(value.clone()), Some(term.sum.clone()), term.count.clone()].into_iter().flatten().collect();
        let model = with_outputs(&objective.model, &outputs)?;
        let kept = |error| stopped(FitError::Checkpoint(error), None);
        let folder = standing.checkpoints.join(BEST);
        let checkpoints = Checkpoints::open(&folder).map_err(kept)?;
        let known = checkpoints.newest().ok().flatten();
        let best = known.filter(|best| standing.step.is_some_and(|step| best.step < step)).and_then(|best| {
            let point = standing.points.iter().find(|point| point.step == best.step)?;
            Some(Best { step: best.step, loss: point.loss, parameters: best.parameters })
        });
        if best.is_none() {
            // Left by another run, or by steps that are made again: it would be taken for the newest.
            for path in checkpoints.list().map_err(kept)? {
                std::fs::remove_file(&path).map_err(|source| Error::Io { action: "remove", path, source })?;
            }
        }
        Ok(Self {
            job,
            result,
            data: data.to_owned(),
            source,
            model,
            kind: loss_kind(base, &value, options.loss),
            value,
            term,
            target,
            map,
            batch: batch.fixed.unwrap_or(standing.micro_batch),
            drops_last: batch.fixed.is_some(),
            path: standing.desk.join("validation.onnx"),
            checkpoints,
            points: standing.points,
            best,
        })
    }

    /// Asks the model with these parameters.
    pub(super) fn run(
        &mut self,
        epoch: u64,
        step: u64,
        parameters: &BTreeMap<String, Tensor>,
    ) -> Result<ValidationPoint, Error> {
        let weights = self.result.weights(parameters, self.job.weights)?;
        let (proto, _) = onnxfit_train::replaced(&self.model, &weights);
        save(&proto, &self.path, &SaveOptions::new(self.job.weights))?;
        let spec: SessionSpec = session_spec(&self.path, self.job.request);
        let mut session = Session::open(self.job.library, &spec).map_err(runtime_error)?;
        let inputs: Vec<DataInput> =
            data_inputs(&session).into_iter().filter(|input| input.name != self.term.scale).collect();
        let feeds = Feeds::of(self.source.schema(), &inputs, &self.map)
            .map_err(|error| stopped(FitError::Feed(error), None))?;
        let one = Tensor::from_f32(Vec::new(), &[1.0]).map_err(|error| Error::Predict(error.to_string()))?;
        let options = BatchOptions {
            bad_samples: self.job.options.bad_samples,
            drops_last: self.drops_last,
            ..BatchOptions::of(self.batch)
        };
        let mut sums = Sums::default();
        for batch in self.source.batches(&options, Position::default()) {
            let batch = batch.map_err(|error| stopped(FitError::Data(error), None))?;
            let mut fed = feeds.apply(&batch.tensors).map_err(|error| stopped(FitError::Feed(error), None))?;
            fed.insert(&self.term.scale, one.clone());
            let answers = session.run(&fed).map_err(runtime_error)?;
            self.add(&answers, &fed, batch.samples.len() as u64, &mut sums);
        }
        let point = ValidationPoint {
            step,
            epoch,
            loss: sums.loss / sums.count,
            accuracy: (sums.n_labels > 0).then(|| sums.n_right as f64 / sums.n_labels as f64),
            n_samples: sums.n_samples,
        };
        self.points.push(point.clone());
        // The first counts whatever it is; one that is no number is never better.
        if self.best.as_ref().is_none_or(|best| point.loss < best.loss) {
            self.checkpoints
                .write(&Checkpoint { step, parameters: parameters.clone(), ..Checkpoint::default() })
                .map_err(|error| stopped(FitError::Checkpoint(error), None))?;
            self.best = Some(Best { step, loss: point.loss, parameters: parameters.clone() });
        }
        Ok(point)
    }

    fn add(&self, answers: &Tensors, fed: &Tensors, n_samples: u64, sums: &mut Sums) {
        let number = |name: &str| answers.get(name).and_then(Tensor::values).and_then(|values| values.first().copied());
        sums.n_samples += n_samples;
        sums.loss += number(&self.term.sum).unwrap_or(f64::NAN);
        sums.count += self.term.count.as_deref().map_or(Some(n_samples as f64), number).unwrap_or(f64::NAN);
        let LossKind::CrossEntropy { class_axis, ignore_index } = self.kind else { return };
        let (Some(scores), Some(labels)) = (answers.get(&self.value), fed.get(&self.target)) else { return };
        let (n_right, n_labels) = right(scores, labels, class_axis, ignore_index);
        sums.n_right += n_right;
        sums.n_labels += n_labels;
    }

    /// The parameters with the least loss, if there was a validation.
    pub(super) fn best(&self) -> Option<&BTreeMap<String, Tensor>> {
        self.best.as_ref().map(|best| &best.parameters)
    }

    pub(super) fn view(&self) -> ValidationView {
        let kept_step = self.best.as_ref().map(|best| best.step);
        ValidationView { data: self.data.display().to_string(), points: self.points.clone(), kept_step }
    }
}

/// What is added up over the samples.
#[derive(Default)]
struct Sums {
    loss: f64,
    count: f64,
    n_right: u64,
    n_labels: u64,
    n_samples: u64,
}

/// How many labels have the largest score, and how many there are.
fn right(scores: &Tensor, labels: &Tensor, class_axis: i64, ignore_index: Option<i64>) -> (u64, u64) {
    let (Some(scores_values), Some(labels)) = (scores.values(), labels.values()) else { return (0, 0) };
    let shape: Vec<usize> = scores.shape().iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let axis = if class_axis < 0 { shape.len().checked_sub(1) } else { usize::try_from(class_axis).ok() };
    let Some((axis, n_classes)) = axis.and_then(|axis| Some((axis, *shape.get(axis)?))) else { return (0, 0) };
    let n_inner: usize = shape[axis + 1..].iter().product();
    let score = |label: usize, class: usize| {
        let (outer, inner) = (label / n_inner, label % n_inner);
        scores_values.get((outer * n_classes + class) * n_inner + inner).copied().unwrap_or(f64::NEG_INFINITY)
    };
    let (mut n_right, mut n_labels) = (0, 0);
    for (at, label) in labels.iter().enumerate() {
        if ignore_index.is_some_and(|ignored| ignored as f64 == *label) {
            continue;
        }
        n_labels += 1;
        let best = (0..n_classes).max_by(|a, b| score(at, *a).total_cmp(&score(at, *b)).then(b.cmp(a)));
        n_right += u64::from(best.is_some_and(|best| best as f64 == *label));
    }
    (n_right, n_labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_held_against_the_largest_score_along_the_axis_of_classes() {
        let scores = |shape: &[u64], values: &[f32]| Tensor::from_f32(shape.to_vec(), values).unwrap();
        let labels = |shape: &[u64], values: &[i64]| Tensor::from_i64(shape.to_vec(), values).unwrap();
        let rows = scores(&[3, 2], &[0.1, 0.9, 0.8, 0.2, 0.4, 0.6]);
        assert_eq!(right(&rows, &labels(&[3], &[1, 0, 0]), -1, None), (2, 3));
        assert_eq!(right(&rows, &labels(&[3], &[1, -100, 0]), -1, Some(-100)), (1, 2));
        // One image of two classes and three places.
        let places = scores(&[1, 2, 3], &[0.1, 0.7, 0.5, 0.9, 0.3, 0.5]);
        assert_eq!(right(&places, &labels(&[1, 3], &[1, 0, 0]), 1, None), (3, 3));
    }
}
