//! How many samples go through at once: the largest part of a batch that the twin sees fit.
//!
//! A step of a whole batch is one graph. In parts it is two: gradients that are added up, and the
//! update; each has a session, and so an arena, of its own. On the CPU provider each arena has the
//! limit for itself; on CUDA they share the card.

use std::collections::BTreeMap;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::TensorSource;
use onnxfit_plan::Fit;
use onnxfit_report::train::RecomputeView;
use onnxfit_shape::Bindings;
use onnxfit_train::{Recompute, TrainingPlan};
use serde_json::{Value, json};

use super::options::{Recomputing, TrainOptions};
use super::prepare::BatchDim;
use crate::request::Provider;
use crate::session_graph::session_graph;
use crate::twin::{Judgement, Twin};
use crate::{Error, Request};

/// Parts so small are worth recomputing for.
const SMALL_PART: u64 = 8;

/// What was found.
pub(super) struct Sized {
    /// The plan, with activations computed again if that was chosen.
    pub(super) plan: TrainingPlan,
    pub(super) micro_batch: u64,
    /// What all arenas, and the process on the card, take at most.
    pub(super) peak_bytes: Bytes,
    /// What stops one sample more, where it does not fit.
    pub(super) one_more: Option<String>,
    pub(super) budget_bytes: Option<Bytes>,
    pub(super) recompute: Option<RecomputeView>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Sized {
    /// The first line of the log.
    pub(super) fn facts(&self, options: &TrainOptions) -> Value {
        json!({
            "schema": "onnxfit.train-log/1",
            "data": options.data.display().to_string(),
            "batch": options.batch,
            "micro_batch": self.micro_batch,
            "predicted_bytes": self.peak_bytes.get(),
            "budget_bytes": self.budget_bytes.map(Bytes::get),
        })
    }
}

/// Finds the largest part that fits.
pub(super) fn size(
    plan: TrainingPlan,
    batch: &BatchDim,
    weights: &dyn TensorSource,
    request: &Request,
    options: &TrainOptions,
) -> Result<Sized, Error> {
    let budget_bytes = request.budget();
    let asked = options.micro_batch.or(batch.fixed).map(|micro_batch| micro_batch.min(options.batch));
    let found = |plan: &TrainingPlan| -> (Found, Vec<Diagnostic>) {
        let graphs = Graphs::of(plan, weights, request);
        let rooms = Rooms::new(&graphs, batch, request, options.batch);
        let found = match asked {
            Some(micro_batch) => Found { micro_batch, ..rooms.at(micro_batch) },
            None => rooms.largest(),
        };
        (found, graphs.diagnostics)
    };
    let always = options.recompute == Recomputing::Always;
    let (mut best, mut diagnostics) = found(&plan);
    let is_small = !best.fits || best.micro_batch < options.batch.min(SMALL_PART);
    let mut chosen = plan;
    let mut view = None;
    if always || (is_small && options.recompute == Recomputing::Auto) {
        let at = best.micro_batch.max(1).saturating_mul(2).min(options.batch);
        let mut sizes = Bindings::default();
        sizes.dims.insert(batch.name.clone(), at as i64);
        let again = chosen.recomputed(&sizes, Recompute::Smallest);
        let again = again.map_err(|error| super::stopped(error.into(), None))?;
        if let Some((plan, report)) = again {
            let (with, more) = found(&plan);
            let is_better = with.fits && (!best.fits || with.micro_batch > best.micro_batch);
            if always || is_better {
                view = Some(RecomputeView {
                    n_segments: report.n_segments,
                    repeated_share: report.repeated_share,
                    kept_before_bytes: report.kept_before_bytes.into(),
                    kept_after_bytes: report.kept_after_bytes.into(),
                    micro_batch_without: best.micro_batch,
                });
                (chosen, best, diagnostics) = (plan, with, more);
            }
        }
    }
    if !best.fits && asked.is_none() {
        let need = best.peak;
        let have = budget_bytes.unwrap_or_default();
        return Err(Error::Train {
            message: format!("not even one sample fits: {need} are needed, {have} are there"),
            hint: Some(
                "train fewer parameters with `--lora 8` or `--freeze`, or give a larger target with `--on`".to_owned(),
            ),
        });
    }
    if !best.fits {
        let message = format!("{} samples at once were asked for, but take {}", best.micro_batch, best.peak);
        diagnostics.push(Diagnostic::warning("does-not-fit", message));
    }
    Ok(Sized {
        plan: chosen,
        micro_batch: best.micro_batch.max(1),
        peak_bytes: best.peak,
        one_more: best.stopper,
        budget_bytes,
        recompute: view,
        diagnostics,
    })
}

/// The graphs as sessions run them.
struct Graphs {
    gradients: GraphModel,
    update: GraphModel,
    whole: GraphModel,
    counting: Option<GraphModel>,
    diagnostics: Vec<Diagnostic>,
}

impl Graphs {
    fn of(plan: &TrainingPlan, weights: &dyn TensorSource, request: &Request) -> Self {
        let gradients = session_graph(&plan.gradients.model, weights, request);
        let update = session_graph(&plan.update.model, weights, request);
        let whole = session_graph(&plan.whole, weights, request);
        let counting = plan.counting.as_ref().map(|model| session_graph(model, weights, request).model.into_owned());
        let (gradients, update, whole, diagnostics) =
            (gradients.model.into_owned(), update.model.into_owned(), whole.model.into_owned(), gradients.diagnostics);
        Self { gradients, update, whole, counting, diagnostics }
    }
}

/// What a part of this size takes.
#[derive(Clone, Debug)]
struct Found {
    micro_batch: u64,
    fits: bool,
    peak: Bytes,
    /// What stops it, or one sample more.
    stopper: Option<String>,
}

struct Rooms<'a> {
    gradients: Twin<'a>,
    update: Twin<'a>,
    whole: Twin<'a>,
    counting: Option<Twin<'a>>,
    batch_dim: &'a str,
    is_fixed: bool,
    batch: u64,
    request: &'a Request,
}

impl<'a> Rooms<'a> {
    fn new(graphs: &'a Graphs, batch_dim: &'a BatchDim, request: &'a Request, batch: u64) -> Self {
        Self {
            gradients: Twin::new(&graphs.gradients, request),
            update: Twin::new(&graphs.update, request),
            whole: Twin::new(&graphs.whole, request),
            counting: graphs.counting.as_ref().map(|graph| Twin::new(graph, request)),
            batch_dim: &batch_dim.name,
            is_fixed: batch_dim.fixed.is_some(),
            batch,
            request,
        }
    }

    fn dims(&self, n_samples: u64) -> BTreeMap<String, i64> {
        if self.is_fixed {
            return BTreeMap::new();
        }
        BTreeMap::from([(self.batch_dim.to_owned(), i64::try_from(n_samples).unwrap_or(i64::MAX))])
    }

    fn at(&self, micro_batch: u64) -> Found {
        let (budget, is_cuda) = (self.request.budget(), self.request.provider == Provider::Cuda);
        // The bytes of a process on a card are counted with the first session.
        let besides = |judged: &Judgement| {
            let context = if is_cuda { judged.prediction.breakdown.context_bytes } else { Bytes::ZERO };
            judged.band.high.saturating_sub(context)
        };
        let counting = self.counting.as_ref().map_or(Bytes::ZERO, |twin| {
            besides(&twin.ask_sequence(&[self.dims(self.batch)], twin.request_levers(), None))
        });
        let found = |fits, peak, judged: &Judgement| Found {
            micro_batch,
            fits,
            peak,
            stopper: match &judged.failure {
                Some(failure) => Some(failure.message()),
                None => (!fits).then(|| format!("it takes {peak}")),
            },
        };
        // On CUDA the sessions share the card; on the CPU provider each has the limit for itself.
        let less = |shared: Bytes| budget.map(|budget| if is_cuda { budget.saturating_sub(shared) } else { budget });
        if micro_batch >= self.batch {
            let levers = self.whole.request_levers();
            let judged = self.whole.ask_sequence(&vec![self.dims(micro_batch); 3], levers, less(counting));
            return found(judged.fit == Fit::Fits, judged.band.high + counting, &judged);
        }
        let levers = self.gradients.request_levers();
        let update = self.update.ask_sequence(&vec![BTreeMap::new(); 2], levers, budget);
        let shared = besides(&update) + counting;
        let rest = self.batch % micro_batch;
        let mut runs = vec![self.dims(micro_batch); 2];
        if rest > 0 {
            runs.push(self.dims(rest));
        }
        runs.push(self.dims(micro_batch));
        let gradients = self.gradients.ask_sequence(&runs, levers, less(shared));
        let fits = gradients.fit == Fit::Fits && update.fit == Fit::Fits;
        let judged = if update.fit == Fit::Fits { &gradients } else { &update };
        found(fits, gradients.band.high + shared, judged)
    }

    /// The largest part that fits, and what stops one sample more; if not even one fits, one.
    fn largest(&self) -> Found {
        let whole = self.at(self.batch);
        if whole.fits {
            return whole;
        }
        let mut best = self.at(1);
        if !best.fits {
            return best;
        }
        let (mut low, mut high, mut above) = (1, self.batch, whole.stopper);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let found = self.at(middle);
            if found.fits {
                (low, best) = (middle, found);
            } else {
                (high, above) = (middle, found.stopper);
            }
        }
        Found { stopper: above, ..best }
    }
}
