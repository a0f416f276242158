//! Half precision with measured ranges and a proof: measure, convert, compare, and where the
//! answers differ, find the nodes that are to blame and keep them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::{SaveOptions, SaveReport, TensorSource, save, strip_notes};
use onnxfit_rewrite::half::{self, HalfOptions, HalfOutcome, HalfType};
use onnxfit_runtime::RunError;
use onnxfit_runtime::verify::Comparison;
use onnxfit_runtime::worker::Client;

use super::judge::{Judge, Verdict};
use super::ranges::{Measuring, Seen, float_values};
use super::step_back::{Kept, StepBack};
use super::suspects::{deviations, suspects};
use crate::Error;
use crate::gate::Gate;
use crate::probe::Probe;
use crate::progress::Progress;
use crate::samples::Samples;
use crate::verify::runtime_error;

/// What is to be converted, and how.
pub(crate) struct Halving<'a> {
    pub(crate) model: &'a GraphModel,
    pub(crate) source: &'a dyn TensorSource,
    pub(crate) target: HalfType,
    pub(crate) keep_io: bool,
    /// Inputs to measure and compare on; `None` converts unseen.
    pub(crate) samples: Option<&'a Samples>,
    pub(crate) gate: Gate,
    pub(crate) library: &'a Path,
    pub(crate) worker: &'a Path,
    /// A folder for files that nobody keeps.
    pub(crate) desk: &'a Path,
    /// The file to write.
    pub(crate) path: &'a Path,
}

/// A converted model on the disk.
pub(crate) struct Halved {
    pub(crate) outcome: HalfOutcome,
    pub(crate) saved: SaveReport,
    /// What was measured, by value.
    pub(crate) seen: BTreeMap<String, Seen>,
    /// The comparison of each sample.
    pub(crate) comparisons: Vec<Comparison>,
    /// How many of the original's choices the converted model was given; `None` if it made its own.
    pub(crate) n_given: Option<usize>,
    pub(crate) rounds: Vec<Round>,
    pub(crate) stop: StopReason,
}

/// One step back.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// Why the model before it was not good enough.
    pub(crate) problem: String,
    /// The nodes that were kept because of that.
    pub(crate) kept: Vec<String>,
    /// Whether their weights stayed, too.
    pub(crate) weights: bool,
}

/// Why the conversion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The answers are the same within the tolerance.
    Verified,
    /// Nobody compared.
    NotCompared,
    /// The answers still differ after all rounds.
    Rounds,
}

impl StopReason {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Verified => "the answers are the same within the tolerance",
            Self::NotCompared => "the answers were not compared",
            Self::Rounds => "the answers still differ after as many rounds as are made",
        }
    }

    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Verified | Self::NotCompared)
    }
}

/// Converts, and writes the result to `path` whether it is good or not: the caller decides. Answers
/// that agree, but hardly, are tried once more under [`Gate::with_margin`].
pub(crate) fn halve(halving: &Halving<'_>, progress: &dyn Progress) -> Result<Halved, Error> {
    let first = attempt(halving, progress)?;
    let wanted = halving.gate.with_margin();
    let is_plain = |halved: &Halved| halved.stop == StopReason::Verified && halved.n_given.is_none();
    if !is_plain(&first) || first.comparisons.iter().all(|comparison| wanted.allows(comparison)) {
        return Ok(first);
    }
    progress.said("the answers agree, but other inputs may pass the tolerance: trying for three quarters of it");
    let second = attempt(&Halving { gate: wanted, ..*halving }, progress)?;
    if is_plain(&second) {
        return Ok(second);
    }
    let saved = written(&first.outcome, halving)?;
    Ok(Halved { saved, ..first })
}

fn attempt(halving: &Halving<'_>, progress: &dyn Progress) -> Result<Halved, Error> {
    let mut options = HalfOptions { keep_io: halving.keep_io, ..HalfOptions::new(halving.target) };
    let Some(samples) = halving.samples else {
        let (outcome, saved) = convert(halving, &options)?;
        return Ok(Halved {
            outcome,
            saved,
            seen: BTreeMap::new(),
            comparisons: Vec::new(),
            n_given: None,
            rounds: Vec::new(),
            stop: StopReason::NotCompared,
        });
    };
    let mut client = Client::spawn(halving.worker, &["__worker"]).map_err(runtime_error)?;
    progress.doing("writing the float model with its weights apart");
    let before = Probe::write(halving.model, halving.source, &halving.desk.join("float.onnx"))?;
    progress.doing("running the float model");
    let judge = Judge::begin(&before, halving.library, halving.gate, samples, &mut client)?;
    let Halving { model, target, library, .. } = *halving;
    let seen = Measuring { model, probe: &before, samples, target, library, progress }.measure(&mut client)?;
    options.ranges = Some(seen.iter().map(|(name, seen)| (name.clone(), seen.range())).collect());

    let mut back = StepBack::default();
    // The best model so far, and the options that made it.
    let mut best: Option<(HalfOutcome, Verdict)> = None;
    let stop = loop {
        progress.doing("converting");
        let (outcome, saved) = convert(halving, &options)?;
        progress.doing("running the converted model");
        let judged = judge.judge(halving.path, &mut client);
        if judged.as_ref().is_ok_and(|verdict| verdict.is_good) {
            let fewer = back.narrow(true);
            best = judged.ok().map(|verdict| (outcome, verdict));
            match fewer {
                Some(kept) => back.apply(kept, &mut options),
                None => break StopReason::Verified,
            }
            continue;
        }
        if best.is_some() {
            match back.narrow(false) {
                Some(kept) => back.apply(kept, &mut options),
                None => break StopReason::Verified,
            }
            continue;
        }
        let (problem, kept) = match &judged {
            Err(error) => {
                let node = failing_node(error).map(str::to_owned);
                let Some(node) = node.filter(|node| !options.keep_nodes.contains(node)) else {
                    return Err(runtime_error(error.clone()));
                };
                (error.to_string(), Some(Kept::Computing(vec![node])))
            }
            Ok(verdict) => {
                if back.wants_ranking() {
                    let ranking =
                        blame(halving, &options, &outcome, &before, &judge, verdict, &seen, &mut client, progress)?;
                    back.rank(ranking, halving.model);
                }
                (first_problem(verdict), back.next())
            }
        };
        let Some(kept) = kept else {
            let (rounds, stop) = (back.rounds, StopReason::Rounds);
            let (comparisons, n_given) =
                judged.map_or_else(|_| (Vec::new(), None), |verdict| (verdict.comparisons, verdict.n_given));
            return Ok(Halved { outcome, saved, seen, comparisons, n_given, rounds, stop });
        };
        progress.said(&format!("{problem}; {}", kept.text()));
        back.rounds.push(Round { problem, kept: kept.nodes().to_vec(), weights: kept.is_weights() });
        back.apply(kept, &mut options);
    };
    let Some((outcome, verdict)) = best else {
        return Err(Error::Rewrite { message: "nothing was converted".to_owned(), hint: None });
    };
    let saved = written(&outcome, halving)?;
    let (comparisons, n_given) = (verdict.comparisons, verdict.n_given);
    Ok(Halved { outcome, saved, seen, comparisons, n_given, rounds: back.rounds, stop })
}

fn convert(halving: &Halving<'_>, options: &HalfOptions) -> Result<(HalfOutcome, SaveReport), Error> {
    let outcome = half::to_half(halving.model, halving.source, options)
        .map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
    let saved = written(&outcome, halving)?;
    Ok((outcome, saved))
}

fn written(outcome: &HalfOutcome, halving: &Halving<'_>) -> Result<SaveReport, Error> {
    Ok(save(&without_notes(outcome), halving.path, &SaveOptions::new(&outcome.source(halving.source)))?)
}

fn without_notes(outcome: &HalfOutcome) -> ModelProto {
    let mut proto = outcome.model.to_proto();
    strip_notes(&mut proto);
    proto
}

fn failing_node(error: &RunError) -> Option<&str> {
    match error {
        RunError::Failed { node, .. } => node.as_deref(),
        _ => None,
    }
}

fn first_problem(verdict: &Verdict) -> String {
    let outputs = verdict.comparisons.get(verdict.first_bad).map_or(&[][..], |comparison| &comparison.outputs);
    let bad = outputs.iter().find_map(|output| Some((&output.name, output.problem.as_ref()?)));
    bad.map_or_else(String::new, |(name, problem)| format!("`{name}` {problem}"))
}

#[allow(clippy::too_many_arguments, reason = "one call of one step, cut out for reading")]
fn blame(
    halving: &Halving<'_>,
    options: &HalfOptions,
    outcome: &HalfOutcome,
    before: &Probe,
    judge: &Judge<'_>,
    verdict: &Verdict,
    seen: &BTreeMap<String, Seen>,
    client: &mut Client,
    progress: &dyn Progress,
) -> Result<Vec<String>, Error> {
    let source = outcome.source(halving.source);
    let mut after = Probe::write(&outcome.model, &source, &halving.desk.join("half.onnx"))?;
    let inputs = judge.inputs(verdict.first_bad);
    let mut fed = inputs.clone();
    // Behind a choice that was made otherwise every number is another.
    if let Some(by_choice) = judge.choices().filter(|_| verdict.n_given.is_some())
        && by_choice.give(after.proto_mut())
    {
        fed = fed.into_iter().chain(by_choice.chosen(verdict.first_bad)).collect();
    }
    let n_samples = halving.samples.map_or(1, Samples::len);
    let graph = &outcome.model.graph;
    let is_made = |name: &str| graph.value_named(name).is_some_and(|id| graph.value(id).producer.is_some());
    let mut values = float_values(halving.model, inputs);
    values.retain(|(name, _)| is_made(name));
    for (name, bytes) in &mut values {
        *bytes = seen.get(name).map_or(*bytes, |seen| seen.bytes(n_samples));
    }
    let found = deviations(&values, [(before, inputs), (&after, &fed)], client, halving.library, progress)?;
    let is_all_kept = outcome.report.n_converted == 0;
    let islands = outcome.report.islands.iter().map(|island| island.node.clone());
    // When all compute in float, what differs comes from the weights: any node may be to blame.
    let kept: BTreeSet<String> = islands.chain(options.keep_nodes.iter().cloned()).filter(|_| !is_all_kept).collect();
    Ok(suspects(&halving.model.graph, &found, &kept, halving.gate.suspicion()))
}
