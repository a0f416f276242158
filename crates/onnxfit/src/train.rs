//! `train`: an ONNX model learns from samples, on the memory that is there, and is an ONNX model
//! again.
//!
//! The twin finds the largest part of a batch that fits; the rest is accumulated. What was
//! predicted is said before the first step and held against the measurement afterwards.

mod distill;
mod journal;
mod mixed;
mod options;
mod prepare;
mod sizing;
mod validation;
mod watch;

use std::path::Path;

use onnxfit_base::Bytes;
use onnxfit_data::Source;
use onnxfit_onnx::{SaveOptions, save};
use onnxfit_report::DiagnosticView;
use onnxfit_report::train::{MemoryView, TrainView};
use onnxfit_runtime::Library;
use onnxfit_train::{Answers, Checkpoints, Feeds, Fit, FitError, SessionRunner, Trainer, fit};

use crate::progress::Progress;
use crate::request::Provider;
use crate::session_spec::session_spec;
use crate::verify::runtime_error;
use crate::workplace::Workplace;
use crate::{Error, Model, Request, library};

pub use distill::{DistillOptions, TeacherPlace, distill};
pub use options::{DecayChoice, LossChoice, Recomputing, TrainOptions};

use journal::Journal;
use prepare::Prepared;
use validation::{Standing, Validation};
use watch::Watch;

/// Trains a model on samples and writes it with its new weights.
pub fn train(
    model: &Model,
    request: &Request,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<TrainView, Error> {
    let library = open_library(options.offline, progress)?;
    progress.doing("looking at the data");
    let source = prepare::open_source(model.graph(), &options.data, options)?;
    progress.doing("deriving gradients");
    let weights = crate::weights::source(model, options.random_weights);
    let prepared = prepare::prepare(model, weights.as_ref(), options, &source)?;
    let job = Job { model, request, options, library, source: &source, weights: weights.as_ref() };
    run(&job, prepared, None, progress)
}

/// What is trained, on what, and how.
struct Job<'a> {
    model: &'a Model,
    request: &'a Request,
    options: &'a TrainOptions,
    library: &'static Library,
    source: &'a Source,
    /// The bytes of every weight of the training graphs.
    weights: &'a dyn onnxfit_onnx::TensorSource,
}

fn open_library(offline: bool, progress: &dyn Progress) -> Result<&'static Library, Error> {
    let path = library::ensure(offline, progress)?;
    Library::load(&path).map_err(runtime_error)
}

/// Sizes, trains, and writes what came of it.
fn run(
    job: &Job<'_>,
    prepared: Prepared,
    teacher: Option<(Answers, Feeds)>,
    progress: &dyn Progress,
) -> Result<TrainView, Error> {
    let options = job.options;
    let workplace = Workplace::begin(&options.output, job.model)?;
    progress.doing("predicting the memory");
    let half_weights = prepared.half.as_ref().map(|half| half.source(job.weights));
    let graph_weights: &dyn onnxfit_onnx::TensorSource = half_weights.as_ref().map_or(job.weights, |source| source);
    let sized = sizing::size(prepared.plan, &prepared.batch, graph_weights, job.request, options)?;
    let mut diagnostics = prepared.diagnostics;
    diagnostics.extend(sized.diagnostics.iter().cloned());
    let n_parts = options.batch.div_ceil(sized.micro_batch);
    progress.said(&format!(
        "{} samples, batch {} as {n_parts} x {}: predicted {} at most{}",
        job.source.len(),
        options.batch,
        sized.micro_batch,
        sized.peak_bytes,
        sized.budget_bytes.map_or_else(String::new, |budget| match job.request.provider {
            Provider::Cuda => format!(" of {budget}"),
            Provider::Cpu => format!(", each arena limited to {budget}"),
        }),
    ));

    let n_steps_in_epoch = job.source.len().div_ceil(options.batch);
    let n_steps = options.n_steps_max.unwrap_or(u64::MAX).min(n_steps_in_epoch.saturating_mul(options.n_epochs));
    let folder = options.checkpoints.clone().unwrap_or_else(|| beside(&options.output, "checkpoints"));
    let checkpoints = Checkpoints::open(&folder).map_err(|error| stopped(FitError::Checkpoint(error), None))?;
    if !options.resume && !checkpoints.list().map_err(|error| stopped(FitError::Checkpoint(error), None))?.is_empty() {
        let message = format!("`{}` holds checkpoints of an earlier run", folder.display());
        let hint = "go on from them with `--resume`, or remove the folder".to_owned();
        return Err(Error::Train { message, hint: Some(hint) });
    }
    let from = checkpoints.newest().map_err(|error| stopped(FitError::Checkpoint(error), None))?;
    let log = options.log.clone().unwrap_or_else(|| beside(&options.output, "log.jsonl"));
    let (journal, earlier) =
        Journal::open(&log, from.as_ref().map_or(0, |checkpoint| checkpoint.step), &sized.facts(options))?;
    let validation = match &options.validation {
        Some(data) => {
            let standing = Standing {
                checkpoints: &folder,
                step: from.as_ref().map(|checkpoint| checkpoint.step),
                points: earlier.validations,
                micro_batch: sized.micro_batch,
                desk: workplace.desk(),
            };
            Some(Validation::new(job, &prepared.result, &prepared.batch, data, standing)?)
        }
        None => None,
    };
    let spec = session_spec(Path::new(""), job.request);
    let mut runner = SessionRunner::new(job.library, &sized.plan, &spec, graph_weights).map_err(runtime_error)?;
    // Under a limit on the CPU provider every byte is to be the arena's, as it was predicted.
    runner.hold(job.request.provider == Provider::Cuda || job.request.limit().is_none());
    let mut trainer =
        Trainer::new(sized.plan, runner, sized.micro_batch).map_err(|error| stopped(FitError::Train(error), None))?;
    let mut settings = Fit {
        n_steps_max: options.n_steps_max,
        seed: options.shuffle.then_some(options.seed),
        bad_samples: options.bad_samples,
        drops_last: options.drops_last || prepared.batch.fixed.is_some(),
        labels: prepared.labels,
        teacher,
        checkpoints: Some(checkpoints),
        checkpoint_every: options.checkpoint_every,
        fingerprint: prepared.fingerprint,
        ..Fit::new(options.batch, options.n_epochs, options.schedule(n_steps), prepared.feeds)
    };
    let mut watch = Watch::new(progress, journal, earlier.curve, validation, n_steps, sized.peak_bytes);
    let report = fit(&mut trainer, job.source, &mut settings, &mut watch);
    let report = report.map_err(|error| stopped(error, watch.kept.as_deref()))?;
    if let Some(error) = watch.failed.take() {
        return Err(error);
    }
    if let Some(from) = report.resumed_from {
        progress.said(&format!("went on from step {from}"));
    }
    let micro_batch = trainer.micro_batch();
    let measured = trainer.runner().arena_bytes().map_err(runtime_error)?;

    progress.doing("writing the model");
    let best = watch.validation.as_ref().and_then(Validation::best);
    let weights = prepared.result.weights(best.unwrap_or(trainer.parameters()), job.weights)?;
    let (proto, missing) = onnxfit_train::replaced(&prepared.result.model, &weights);
    if let Some(name) = missing.first() {
        return Err(Error::Predict(format!("the model has no weight `{name}` to put the trained one into")));
    }
    let saved = save(&proto, &workplace.model(), &SaveOptions::new(job.weights))?;
    let files = workplace.finish(&options.output, saved.data_name.as_deref())?;
    let validation = watch.validation.as_ref().map(Validation::view);
    let (curve, seconds) = (watch.curve, watch.seconds);
    let n_samples = curve.iter().rev().take(report.n_new_steps as usize).map(|point| point.n_samples).sum::<u64>();
    Ok(TrainView {
        schema: "onnxfit.train/1",
        model: job.model.name(),
        output: options.output.display().to_string(),
        data: options.data.display().to_string(),
        n_samples: job.source.len(),
        n_parameters: trainer.plan().initial.values().map(onnxfit_runtime::Tensor::len).sum(),
        n_trained: trainer.plan().parameters().len(),
        batch: options.batch,
        micro_batch,
        n_epochs: options.n_epochs,
        n_steps: report.n_steps,
        resumed_from: report.resumed_from,
        n_skipped: report.n_skipped,
        first_loss: curve.first().map(|point| point.loss),
        last_loss: curve.last().map(|point| point.loss),
        seconds,
        samples_per_second: n_samples as f64 / seconds.max(1e-9),
        memory: MemoryView {
            target: job.request.target_view(),
            predicted_bytes: sized.peak_bytes.into(),
            measured_bytes: measured.into(),
            predicted_micro_batch: sized.micro_batch,
            one_more: sized.one_more,
            recompute: sized.recompute,
        },
        curve,
        validation,
        log: log.display().to_string(),
        checkpoints: folder.display().to_string(),
        files,
        diagnostics: diagnostics.iter().map(DiagnosticView::from).collect(),
    })
}

/// A file or folder named after the output.
fn beside(output: &Path, what: &str) -> std::path::PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{stem}.{what}"))
}

/// What ended a run, and what is left of it.
fn stopped(error: FitError, kept: Option<&Path>) -> Error {
    let hint = match &error {
        FitError::Data(error) => error.hint().map(str::to_owned),
        FitError::Feed(_) => Some("name them with `--map INPUT=FIELD`, or `--target FIELD` for the labels".to_owned()),
        FitError::Label { .. } => Some("`--ignore-index N` leaves labels of one number out".to_owned()),
        FitError::Train(onnxfit_train::TrainError::NotFinite { .. }) => {
            Some("a smaller `--lr`, `--clip 1` or a longer `--warmup` usually helps; go on with `--resume`".to_owned())
        }
        FitError::Train(onnxfit_train::TrainError::NoGradient(_)) => {
            Some("`--freeze NAME` leaves the parameters behind it as they are".to_owned())
        }
        FitError::Train(onnxfit_train::TrainError::Run(error)) => error.hint().map(str::to_owned),
        FitError::Checkpoint(onnxfit_train::CheckpointError::Write { .. }) => {
            Some("make room and go on with `--resume`".to_owned())
        }
        FitError::Checkpoint(onnxfit_train::CheckpointError::Other { .. }) => {
            Some("give `--checkpoints` another folder, or the settings of that run".to_owned())
        }
        _ => None,
    };
    let kept = kept.map_or_else(String::new, |path| format!("; what was learned before is in `{}`", path.display()));
    Error::Train { message: format!("{error}{kept}"), hint }
}

/// The bytes of all arenas together.
trait ArenaBytes {
    fn arena_bytes(&mut self) -> Result<Bytes, onnxfit_runtime::RunError>;
}

impl ArenaBytes for SessionRunner {
    fn arena_bytes(&mut self) -> Result<Bytes, onnxfit_runtime::RunError> {
        // What is held is memory of the host's beside the arena, where the twin counts outputs.
        let mut total = self.held_bytes();
        for session in self.sessions() {
            total += session.arena_stats()?.total_allocated;
        }
        Ok(total)
    }
}
