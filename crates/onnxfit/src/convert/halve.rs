//! Half precision with measured ranges and a proof: measure, convert, compare, and where the
//! answers differ, find the nodes that are to blame and keep them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::{SaveOptions, SaveReport, TensorSource, save, strip_notes};
use onnxfit_rewrite::half::{self, HalfOptions, HalfOutcome, HalfType};
use onnxfit_runtime::verify::Comparison;
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{RunError, SessionSpec, Tensors};

use super::ranges::{Seen, float_values, measure};
use super::step_back::{Kept, StepBack};
use super::suspects::{deviations, suspects};
use crate::Error;
use crate::gate::Gate;
use crate::probe::Probe;
use crate::progress::Progress;
use crate::samples::Samples;
use crate::verify::runtime_error;

/// Answers are compared on so many samples.
const COMPARED_MAX: usize = 8;

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

/// Converts, and writes the result to `path` whether it is good or not: the caller decides.
pub(crate) fn halve(halving: &Halving<'_>, progress: &dyn Progress) -> Result<Halved, Error> {
    let mut options = HalfOptions { keep_io: halving.keep_io, ..HalfOptions::new(halving.target) };
    let Some(samples) = halving.samples else {
        let (outcome, saved) = convert(halving, &options)?;
        let stop = StopReason::NotCompared;
        return Ok(Halved { outcome, saved, seen: BTreeMap::new(), comparisons: Vec::new(), rounds: Vec::new(), stop });
    };
    let mut client = Client::spawn(halving.worker, &["__worker"]).map_err(runtime_error)?;
    progress.doing("writing the float model with its weights apart");
    let before = Probe::write(halving.model, halving.source, &halving.desk.join("float.onnx"))?;
    progress.doing("running the float model");
    let n_compared = samples.len().min(COMPARED_MAX);
    let expected = answers(&mut client, halving.library, before.path(), samples, n_compared).map_err(runtime_error)?;
    let seen = measure(halving.model, &before, samples, halving.target, &mut client, halving.library, progress)?;
    options.ranges = Some(seen.iter().map(|(name, seen)| (name.clone(), seen.range())).collect());

    let mut back = StepBack::default();
    // The best model so far, and the options that made it.
    let mut best: Option<(HalfOutcome, Vec<Comparison>, HalfOptions)> = None;
    let stop = loop {
        progress.doing("converting");
        let (outcome, saved) = convert(halving, &options)?;
        progress.doing("running the converted model");
        let answered = answers(&mut client, halving.library, halving.path, samples, n_compared);
        let comparisons: Vec<Comparison> = match &answered {
            Ok(answered) => {
                expected.iter().zip(answered).map(|(before, after)| halving.gate.judge(before, after)).collect()
            }
            Err(_) => Vec::new(),
        };
        let bad: Vec<usize> = (0..comparisons.len()).filter(|index| !comparisons[*index].agrees).collect();
        let is_good =
            bad.len() <= samples.n_odd_max() && bad.iter().all(|index| halving.gate.is_near(&comparisons[*index]));
        if answered.is_ok() && is_good {
            let fewer = back.narrow(true);
            best = Some((outcome, comparisons, options.clone()));
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
        let (problem, kept) = match answered {
            Err(error) => {
                let node = failing_node(&error).map(str::to_owned);
                let Some(node) = node.filter(|node| !options.keep_nodes.contains(node)) else {
                    return Err(runtime_error(error));
                };
                (error.to_string(), Some(Kept::Computing(vec![node])))
            }
            Ok(_) => {
                let index = bad.first().copied().unwrap_or_default();
                let problem = first_problem(&comparisons[index]);
                if back.wants_ranking() {
                    let source = outcome.source(halving.source);
                    let after = Probe::write(&outcome.model, &source, &halving.desk.join("half.onnx"))?;
                    let inputs = samples.get(index)?;
                    let ranking =
                        blame(halving, &options, &outcome, &before, &after, &inputs, &seen, &mut client, progress)?;
                    back.rank(ranking, halving.model);
                }
                (problem, back.next())
            }
        };
        let Some(kept) = kept else {
            let rounds = back.rounds;
            return Ok(Halved { outcome, saved, seen, comparisons, rounds, stop: StopReason::Rounds });
        };
        progress.said(&format!("{problem}; {}", kept.text()));
        back.rounds.push(Round { problem, kept: kept.nodes().to_vec(), weights: kept.is_weights() });
        back.apply(kept, &mut options);
    };
    let Some((outcome, comparisons, _)) = best else {
        return Err(Error::Rewrite { message: "nothing was converted".to_owned(), hint: None });
    };
    let saved = save(&without_notes(&outcome), halving.path, &SaveOptions::new(&outcome.source(halving.source)))?;
    Ok(Halved { outcome, saved, seen, comparisons, rounds: back.rounds, stop })
}

fn convert(halving: &Halving<'_>, options: &HalfOptions) -> Result<(HalfOutcome, SaveReport), Error> {
    let outcome = half::to_half(halving.model, halving.source, options)
        .map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
    let saved = save(&without_notes(&outcome), halving.path, &SaveOptions::new(&outcome.source(halving.source)))?;
    Ok((outcome, saved))
}

fn without_notes(outcome: &HalfOutcome) -> ModelProto {
    let mut proto = outcome.model.to_proto();
    strip_notes(&mut proto);
    proto
}

fn answers(
    client: &mut Client,
    library: &Path,
    model: &Path,
    samples: &Samples,
    n_samples: usize,
) -> Result<Vec<Tensors>, RunError> {
    client.open(library, &SessionSpec::new(PathBuf::from(model)))?;
    let mut answers = Vec::new();
    for index in 0..n_samples {
        let inputs = samples.get(index).map_err(|error| RunError::Option(error.to_string()))?;
        answers.push(client.run(&inputs)?.outputs);
    }
    Ok(answers)
}

fn failing_node(error: &RunError) -> Option<&str> {
    match error {
        RunError::Failed { node, .. } => node.as_deref(),
        _ => None,
    }
}

fn first_problem(comparison: &Comparison) -> String {
    let bad = comparison.outputs.iter().find_map(|output| Some((&output.name, output.problem.as_ref()?)));
    bad.map_or_else(String::new, |(name, problem)| format!("`{name}` {problem}"))
}

#[allow(clippy::too_many_arguments, reason = "one call of one step, cut out for reading")]
fn blame(
    halving: &Halving<'_>,
    options: &HalfOptions,
    outcome: &HalfOutcome,
    before: &Probe,
    after: &Probe,
    inputs: &Tensors,
    seen: &BTreeMap<String, Seen>,
    client: &mut Client,
    progress: &dyn Progress,
) -> Result<Vec<String>, Error> {
    let n_samples = halving.samples.map_or(1, Samples::len);
    let graph = &outcome.model.graph;
    let is_made = |name: &str| graph.value_named(name).is_some_and(|id| graph.value(id).producer.is_some());
    let mut values = float_values(halving.model, inputs);
    values.retain(|(name, _)| is_made(name));
    for (name, bytes) in &mut values {
        *bytes = seen.get(name).map_or(*bytes, |seen| seen.bytes(n_samples));
    }
    let found = deviations(&values, before, after, inputs, client, halving.library, progress)?;
    let is_all_kept = outcome.report.n_converted == 0;
    let islands = outcome.report.islands.iter().map(|island| island.node.clone());
    // When all compute in float, what differs comes from the weights: any node may be to blame.
    let kept: BTreeSet<String> = islands.chain(options.keep_nodes.iter().cloned()).filter(|_| !is_all_kept).collect();
    Ok(suspects(&halving.model.graph, &found, &kept, halving.gate.suspicion()))
}
