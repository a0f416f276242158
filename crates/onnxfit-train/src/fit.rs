//! Steps over a source of samples, epoch after epoch, with checkpoints.
//!
//! The curve is a function of model, data and settings: a run that was killed and goes on from its
//! checkpoint makes the same steps. Whatever ends a run, the parameters before the step that failed
//! are kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use onnxfit_data::{BadSamples, Batch, BatchOptions, DataError, Position, Source};
use onnxfit_runtime::{Tensor, Tensors};

use crate::accumulate::{StepReport, Trainer};
use crate::answers::{Answers, AnswersError};
use crate::checkpoint::{Checkpoint, CheckpointError, Checkpoints};
use crate::error::TrainError;
use crate::feeds::{FeedError, Feeds};
use crate::runner::StepRunner;
use crate::schedule::Schedule;

/// How a model is trained on a source.
pub struct Fit {
    /// Samples of one step.
    pub batch: u64,
    /// Passes over the data.
    pub n_epochs: u64,
    /// Ends earlier, after this many steps.
    pub n_steps_max: Option<u64>,
    /// The learning rate.
    pub schedule: Schedule,
    /// What shuffles; `None` keeps the order of the files.
    pub seed: Option<u64>,
    /// What happens to bad samples.
    pub bad_samples: BadSamples,
    /// Whether an epoch's last batch is left out if it is smaller.
    pub drops_last: bool,
    /// Which field feeds which input.
    pub feeds: Feeds,
    /// Inputs that are fed with numbers of classes.
    pub labels: Vec<Labels>,
    /// A teacher whose answers are targets, and what it is fed.
    pub teacher: Option<(Answers, Feeds)>,
    /// Where checkpoints are kept.
    pub checkpoints: Option<Checkpoints>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// What must be the same for a checkpoint to fit.
    pub fingerprint: String,
}

/// An input that is fed with numbers of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The input.
    pub input: String,
    /// How many classes the model has.
    pub n_classes: u64,
    /// A number that means "no label".
    pub ignore_index: Option<i64>,
}

impl Labels {
    /// Refuses numbers that are no classes: some kernels would count them from the end, others read
    /// what lies beside.
    fn check(&self, fed: &Tensors, samples: &[u64]) -> Result<(), FitError> {
        let Some(values) = fed.get(&self.input).and_then(Tensor::values) else { return Ok(()) };
        let is_class = |label: f64| {
            (0.0..self.n_classes as f64).contains(&label)
                || self.ignore_index.is_some_and(|ignored| ignored as f64 == label)
        };
        let Some(at) = values.iter().position(|label| !is_class(*label)) else { return Ok(()) };
        let per_sample = (values.len() / samples.len().max(1)).max(1);
        Err(FitError::Label {
            input: self.input.clone(),
            label: values[at],
            sample: samples.get(at / per_sample).copied().unwrap_or_default(),
            n_classes: self.n_classes,
        })
    }
}

impl Fit {
    /// Shuffled, without checkpoints.
    pub fn new(batch: u64, n_epochs: u64, schedule: Schedule, feeds: Feeds) -> Self {
        Self {
            batch,
            n_epochs,
            n_steps_max: None,
            schedule,
            seed: Some(0),
            bad_samples: BadSamples::Stop,
            drops_last: false,
            feeds,
            labels: Vec::new(),
            teacher: None,
            checkpoints: None,
            checkpoint_every: 100,
            fingerprint: String::new(),
        }
    }
}

/// One step, as an observer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct StepEvent {
    /// How it went.
    pub report: StepReport,
    /// The pass over the data, counted from 0.
    pub epoch: u64,
    /// The learning rate.
    pub rate: f64,
    /// Samples of the epoch that were taken or skipped so far.
    pub index: u64,
}

/// Takes notice of what happens.
pub trait Observer {
    /// A step was made; breaking ends the run after a checkpoint.
    fn step(&mut self, event: &StepEvent) -> ControlFlow<()> {
        let _ = event;
        ControlFlow::Continue(())
    }

    /// A bad sample was left out.
    fn skipped(&mut self, reason: &str) {
        let _ = reason;
    }

    /// Whether it wants to know of the ends of passes.
    fn wants_passes(&self) -> bool {
        false
    }

    /// A pass over the data ended, or the run in the middle of one, after this many steps: the
    /// parameters as they are. Breaking ends the run after a checkpoint.
    fn passed(&mut self, epoch: u64, n_steps: u64, parameters: &BTreeMap<String, Tensor>) -> ControlFlow<()> {
        let _ = (epoch, n_steps, parameters);
        ControlFlow::Continue(())
    }

    /// A checkpoint was written.
    fn kept(&mut self, path: &Path, step: u64) {
        let _ = (path, step);
    }
}

/// Takes no notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FitReport {
    /// Steps made in all, those before a checkpoint included.
    pub n_steps: u64,
    /// Steps made by this process.
    pub n_new_steps: u64,
    /// The loss of the last step; `None` if there was none.
    pub last_loss: Option<f64>,
    /// Bad samples that were left out.
    pub n_skipped: u64,
    /// The step of the checkpoint that the run went on from.
    pub resumed_from: Option<u64>,
    /// Whether an observer ended it.
    pub is_stopped: bool,
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A step could not be made.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data does not fit the model.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A label that is no class.
    #[error("label {label} of sample {sample} in `{input}` is no class: the model has {n_classes}, counted from 0")]
    Label {
        /// The input that takes the labels.
        input: String,
        /// The label.
        label: f64,
        /// Which sample of the data.
        sample: u64,
        /// How many classes there are.
        n_classes: u64,
    },
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The teacher gives no answers.
    #[error(transparent)]
    Answers(#[from] AnswersError),
}

/// Trains; goes on from the newest checkpoint if there is one.
pub fn fit<R: StepRunner>(
    trainer: &mut Trainer<R>,
    source: &Source,
    settings: &mut Fit,
    observer: &mut dyn Observer,
) -> Result<FitReport, FitError> {
    let mut run = Run {
        trainer,
        settings,
        observer,
        report: FitReport::default(),
        position: Position::default(),
        kept: None,
        passed: None,
    };
    run.position.seed = run.settings.seed;
    run.resume()?;
    match run.epochs(source).and_then(|()| run.passed(run.position.epoch.saturating_sub(1))) {
        Ok(()) => {
            run.keep()?;
            run.trainer.sync()?;
            Ok(run.report)
        }
        Err(error) => {
            // The steps before the one that failed are worth keeping; if that fails too, the first
            // failure is what is reported, unless it was the keeping itself.
            if !matches!(error, FitError::Checkpoint(_)) && run.report.n_new_steps > 0 {
                run.keep()?;
            }
            Err(error)
        }
    }
}

struct Run<'a, R> {
    trainer: &'a mut Trainer<R>,
    settings: &'a mut Fit,
    observer: &'a mut dyn Observer,
    report: FitReport,
    position: Position,
    /// The step of the last checkpoint.
    kept: Option<u64>,
    /// The step at which the observer last saw the parameters.
    passed: Option<u64>,
}

impl<R: StepRunner> Run<'_, R> {
    fn resume(&mut self) -> Result<(), FitError> {
        let Some(checkpoints) = &self.settings.checkpoints else { return Ok(()) };
        let Some(found) = checkpoints.newest()? else { return Ok(()) };
        let other = |reason: String| {
            let path = checkpoints.list().ok().and_then(|list| list.last().cloned()).unwrap_or_default();
            FitError::Checkpoint(CheckpointError::Other { path, reason })
        };
        if found.fingerprint != self.settings.fingerprint {
            return Err(other(format!(
                "it was made with {}, this is {}",
                found.fingerprint, self.settings.fingerprint
            )));
        }
        for (ours, theirs) in [(self.trainer.parameters(), &found.parameters), (self.trainer.states(), &found.states)] {
            if let Some((name, _)) =
                ours.iter().find(|(name, tensor)| theirs.get(*name).is_none_or(|other| other.shape() != tensor.shape()))
            {
                return Err(other(format!("it lacks `{name}`, or has another shape for it")));
            }
        }
        self.trainer.restore(found.step, found.parameters, found.states);
        // What memory taught before the end is kept; a smaller choice of now counts too.
        self.trainer.set_micro_batch(found.micro_batch.min(self.trainer.micro_batch()));
        if let Some(state) = found.loss_scale {
            self.trainer.restore_loss_scale(state);
        }
        self.position = found.position;
        self.report.n_skipped = found.n_skipped;
        self.report.resumed_from = Some(found.step);
        self.report.n_steps = found.step;
        self.kept = Some(found.step);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.report.is_stopped
            || self.position.epoch >= self.settings.n_epochs
            || self.settings.n_steps_max.is_some_and(|most| self.trainer.n_steps() >= most)
    }

    fn epochs(&mut self, source: &Source) -> Result<(), FitError> {
        while !self.is_done() {
            let options = BatchOptions {
                bad_samples: self.settings.bad_samples,
                drops_last: self.settings.drops_last,
                ..BatchOptions::of(self.settings.batch)
            };
            for batch in source.batches(&options, self.position) {
                self.step(batch?)?;
                if self.is_done() {
                    return self.passed(self.position.epoch);
                }
            }
            self.passed(self.position.epoch)?;
            self.position = Position { epoch: self.position.epoch + 1, index: 0, ..self.position };
        }
        Ok(())
    }

    fn step(&mut self, batch: Batch) -> Result<(), FitError> {
        let mut fed = self.settings.feeds.apply(&batch.tensors)?;
        self.settings.labels.iter().try_for_each(|labels| labels.check(&fed, &batch.samples))?;
        if let Some((answers, feeds)) = &mut self.settings.teacher {
            let asked: Tensors = feeds.apply(&batch.tensors)?;
            answers.add_to(&batch.samples, &asked, &mut fed)?;
        }
        let rate = self.settings.schedule.at(self.trainer.n_steps());
        let report = self.trainer.step(&fed, rate)?;
        self.position = batch.next;
        self.report.n_steps = self.trainer.n_steps();
        self.report.n_new_steps += 1;
        self.report.last_loss = Some(report.loss);
        self.report.n_skipped += batch.skipped.len() as u64;
        for reason in &batch.skipped {
            self.observer.skipped(reason);
        }
        let event = StepEvent { report, epoch: batch.next.epoch, rate, index: batch.next.index };
        self.report.is_stopped = self.observer.step(&event).is_break();
        if self.report.n_steps.is_multiple_of(self.settings.checkpoint_every.max(1)) {
            self.keep()?;
        }
        Ok(())
    }

    /// Shows the observer the parameters, unless it has seen them.
    fn passed(&mut self, epoch: u64) -> Result<(), FitError> {
        let n_steps = self.trainer.n_steps();
        if self.passed == Some(n_steps) || !self.observer.wants_passes() {
            return Ok(());
        }
        self.trainer.sync()?;
        self.passed = Some(n_steps);
        self.report.is_stopped |= self.observer.passed(epoch, n_steps, self.trainer.parameters()).is_break();
        Ok(())
    }

    /// Writes a checkpoint, unless there is one of this step.
    fn keep(&mut self) -> Result<(), FitError> {
        let Some(checkpoints) = &self.settings.checkpoints else { return Ok(()) };
        if self.kept == Some(self.trainer.n_steps()) {
            return Ok(());
        }
        self.trainer.sync()?;
        let checkpoint = Checkpoint {
            step: self.trainer.n_steps(),
            position: self.position,
            micro_batch: self.trainer.micro_batch(),
            loss_scale: self.trainer.loss_scale_state(),
            n_skipped: self.report.n_skipped,
            fingerprint: self.settings.fingerprint.clone(),
            parameters: self.trainer.parameters().clone(),
            states: self.trainer.states().clone(),
        };
        let path = checkpoints.write(&checkpoint)?;
        self.kept = Some(checkpoint.step);
        self.observer.kept(&path, checkpoint.step);
        Ok(())
    }
}
