//! The pruned model learns from the original: its answers to the data are what it is to give.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_graph::Patch;
use onnxfit_prune::{CuttingSource, Pruned};
use onnxfit_runtime::{ElementType, Library, OptimizationLevel, SessionSpec, Tensor, Tensors};
use onnxfit_train::{
    Decay, GradientOptions, Loss, LossKind, LossTerm, Missing, Moments, Optimizer, Per, PlanOptions, Rule, Schedule,
    SessionRunner, Trainer, TrainingPlan,
};

use super::{Job, rewrite};
use crate::Error;
use crate::progress::Stage;
use crate::verify::runtime_error;

/// What the names of the original's answers begin with.
const ANSWER: &str = "onnxfit/answer of ";
/// How soft the teacher's scores are made.
const TEMPERATURE: f64 = 4.0;
/// The learning rate ends at this share of where it began.
const END_FACTOR: f64 = 0.02;

/// Trains; gives the loss of the first and the last pass.
pub(super) fn distill(
    job: &Job<'_>,
    made: &mut Pruned,
    n_epochs: u64,
    rate: f64,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Option<(f64, f64)>, Error> {
    let samples = job.runs.samples;
    if job.options.data.is_none() {
        let message = "distilled on made-up inputs, which teach little".to_owned();
        diagnostics.push(Diagnostic::warning("no-data", message).with_hint("give real inputs with `--data DIR`"));
    }
    job.progress.doing("asking the original for its answers");
    let answers = job.runs.answers(job.base.probe.path(), OptimizationLevel::All, samples.len())?;
    let mut loss = Loss::default();
    for (name, tensor) in answers.first().into_iter().flat_map(Tensors::iter) {
        if tensor.element_type() == ElementType::Float {
            let kind = if tensor.shape().len() == 2 && tensor.shape()[1] > 1 {
                LossKind::Divergence { temperature: TEMPERATURE }
            } else {
                LossKind::SquaredError
            };
            let per = if kind == LossKind::SquaredError { Per::Item } else { Per::Sample };
            loss.terms.push(LossTerm { per, ..LossTerm::new(kind, name, &format!("{ANSWER}{name}")) });
        }
    }
    let weights = CuttingSource::new(job.base.file.weights(), &made.cuts);
    let optimizer = Optimizer::new(Rule::Adam(Moments::default()));
    let options = PlanOptions {
        gradient: GradientOptions { missing: Missing::Freeze, ..GradientOptions::default() },
        ..PlanOptions::default()
    };
    let plan =
        TrainingPlan::new(&made.model, &loss, &optimizer, &weights, &options).map_err(|error| rewrite(&error))?;
    let library = Library::load(job.runs.library).map_err(runtime_error)?;
    let runner = SessionRunner::new(library, &plan, &SessionSpec::default(), &weights).map_err(runtime_error)?;
    let mut trainer = Trainer::new(plan, runner, u64::MAX).map_err(|error| rewrite(&error))?;
    let n_steps = n_epochs * samples.len() as u64;
    let schedule = Schedule { rate, n_warmup_steps: 0, decay: Decay::Cosine { n_steps, end_factor: END_FACTOR } };
    let (mut first, mut last) = (0.0, 0.0);
    for epoch in 0..n_epochs {
        let mut total = 0.0;
        for at in 0..samples.len() {
            // Another order each time, the same on every run.
            let index = (at * stride(samples.len()) + epoch as usize) % samples.len();
            let what = "learning from the original".to_owned();
            job.progress.stage(&Stage::Counted { what, done: trainer.n_steps(), total: n_steps });
            let mut batch = samples.get(index)?;
            for (name, tensor) in answers[index].iter() {
                if tensor.element_type() == ElementType::Float {
                    batch.insert(format!("{ANSWER}{name}"), tensor.clone());
                }
            }
            let rate = schedule.at(trainer.n_steps());
            total += trainer.step(&batch, rate).map_err(|error| rewrite(&error))?.loss;
        }
        last = total / samples.len() as f64;
        if epoch == 0 {
            first = last;
        }
    }
    keep(made, trainer.parameters())?;
    Ok(Some((first, last)))
}

/// A step that visits every index, about the golden share of them.
fn stride(n: usize) -> usize {
    let is_coprime = |step: usize| {
        let (mut a, mut b) = (n, step);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let first = (n as f64 * 0.618) as usize;
    (first.max(1)..=n.max(1)).find(|step| is_coprime(*step)).unwrap_or(1)
}

/// Puts what was learned into the model.
fn keep(made: &mut Pruned, parameters: &BTreeMap<String, Tensor>) -> Result<(), Error> {
    let mut patch = Patch::new(&made.model.graph, "distilled");
    for (name, tensor) in parameters {
        let Some(id) = made.model.graph.value_named(name) else { continue };
        let (Some(old), Some(bytes)) = (made.model.graph.value(id).tensor(), tensor.bytes()) else { continue };
        let mut new = (**old).clone();
        made.cuts.replace(&mut new, bytes.to_vec().into());
        patch.set_initializer(id, new);
    }
    made.model.graph.apply(&patch).map_err(|error| rewrite(&error))
}
