//! What a person sees while a model learns: a bar on the terminal, a line in the log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use onnxfit_base::Bytes;
use onnxfit_report::train::{PointView, validated};
use onnxfit_runtime::Tensor;
use onnxfit_train::{Observer, StepEvent};

use super::journal::Journal;
use super::validation::Validation;
use crate::Error;
use crate::progress::{Progress, Stage};

/// Bad samples that are named; the others are counted.
const NAMED_MAX: u64 = 5;

/// Watches the steps of a run.
pub(super) struct Watch<'a> {
    progress: &'a dyn Progress,
    journal: Journal,
    /// All points, those before a checkpoint first.
    pub(super) curve: Vec<PointView>,
    /// The newest checkpoint.
    pub(super) kept: Option<PathBuf>,
    /// What asks the model for samples that it does not learn from.
    pub(super) validation: Option<Validation<'a>>,
    /// The log could not be written, or the validation not be run.
    pub(super) failed: Option<Error>,
    /// Time since the first step began.
    pub(super) seconds: f64,
    started: Instant,
    n_steps: u64,
    n_skipped: u64,
    n_samples: u64,
    predicted: Bytes,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        progress: &'a dyn Progress,
        journal: Journal,
        earlier: Vec<PointView>,
        validation: Option<Validation<'a>>,
        n_steps: u64,
        predicted: Bytes,
    ) -> Self {
        Self {
            progress,
            journal,
            curve: earlier,
            kept: None,
            validation,
            failed: None,
            seconds: 0.0,
            started: Instant::now(),
            n_steps,
            n_skipped: 0,
            n_samples: 0,
            predicted,
        }
    }

    fn check(&mut self, written: Result<(), Error>) -> ControlFlow<()> {
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, event: &StepEvent) -> ControlFlow<()> {
        let report = &event.report;
        self.seconds = self.started.elapsed().as_secs_f64();
        self.n_samples += report.n_samples;
        let point = PointView {
            step: report.step,
            epoch: event.epoch,
            loss: report.loss,
            rate: event.rate,
            gradient_norm: report.gradient_norm,
            n_samples: report.n_samples,
            micro_batch: report.micro_batch,
            n_retries: report.n_retries,
            seconds: self.seconds,
        };
        if report.n_retries > 0 {
            self.progress.said(&format!(
                "step {}: redone {} times, now {} samples at once",
                report.step, report.n_retries, report.micro_batch
            ));
        }
        let what = format!(
            "epoch {} loss {:.4} lr {:.2e} {:.0} samples/s, predicted {}",
            event.epoch + 1,
            report.loss,
            event.rate,
            self.n_samples as f64 / self.seconds.max(1e-9),
            self.predicted,
        );
        self.progress.stage(&Stage::Counted { what, done: report.step + 1, total: self.n_steps });
        let written = self.journal.step(&point);
        self.curve.push(point);
        self.check(written)
    }

    fn skipped(&mut self, reason: &str) {
        self.n_skipped += 1;
        if self.n_skipped <= NAMED_MAX {
            self.progress.said(&format!("skipped: {reason}"));
        } else if self.n_skipped == NAMED_MAX + 1 {
            self.progress.said("further bad samples are only counted, and named in the log");
        }
        let written = self.journal.event("skipped", reason);
        let _ = self.check(written);
    }

    fn wants_passes(&self) -> bool {
        self.validation.is_some()
    }

    fn passed(&mut self, epoch: u64, n_steps: u64, parameters: &BTreeMap<String, Tensor>) -> ControlFlow<()> {
        let Some(validation) = &mut self.validation else { return ControlFlow::Continue(()) };
        self.progress.doing("validating");
        let written = validation.run(epoch, n_steps, parameters).and_then(|point| {
            self.progress.said(&format!("epoch {}: {}", epoch + 1, validated(&point)));
            self.journal.validation(&point)
        });
        self.check(written)
    }

    fn kept(&mut self, path: &Path, _: u64) {
        self.kept = Some(path.to_owned());
    }
}
