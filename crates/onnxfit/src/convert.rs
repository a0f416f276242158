//! `convert`: the same model in half precision, with ranges that were measured and answers that
//! were compared.
//!
//! Nothing appears under the final name unless the answers agree.

mod bytes_in;
pub(crate) mod halve;
mod judge;
pub(crate) mod ranges;
mod step_back;
mod suspects;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_report::DiagnosticView;
use onnxfit_report::convert::{ConvertView, IslandView, RangeView, ReasonView, RoundView};
use onnxfit_report::fix::{OutputView, VerifyView};
use onnxfit_rewrite::half::HalfType;
use onnxfit_rewrite::inline::inline_functions;
use onnxfit_runtime::verify::{Comparison, OutputComparison};

use crate::gate::{Gate, Kind, MaxDrop, Metric};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::verify::output_view;
use crate::workplace::Workplace;
use crate::{Error, Model, Request, weights};
use halve::{Halved, Halving, StopReason, halve};
use ranges::Seen;

pub use bytes_in::{ByteLayout, ByteResize, BytesIn, BytesInOptions, bytes_in};

/// A half-width float type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfFloat {
    /// IEEE half precision.
    Float16,
    /// The upper half of a 32-bit float.
    Bfloat16,
}

/// How a model is to be converted.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// Into what.
    pub target: HalfFloat,
    /// The file to write.
    pub output: PathBuf,
    /// Whether inputs and outputs stay 32-bit floats.
    pub keep_io: bool,
    /// Samples to measure and compare on: `.npz` files, arrays with a row for each, or images; `None`
    /// makes inputs up.
    pub calibration: Option<PathBuf>,
    /// How images of the calibration data become floats.
    pub pixels: BytesIn,
    /// The seed of made-up inputs.
    pub seed: u64,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// The limit that replaces the usual tolerance.
    pub max_drop: Option<MaxDrop>,
    /// Run nothing: convert with cautious rules alone.
    pub no_run: bool,
    /// Rewrite even if unknown fields are lost.
    pub force: bool,
    /// Install nothing.
    pub offline: bool,
    /// A program that serves runs when started with `__worker`: the command itself.
    pub worker: PathBuf,
}

/// Converts a model and writes it, if its answers stay what they were.
pub fn convert(
    model: &Model,
    request: &Request,
    options: &ConvertOptions,
    progress: &dyn Progress,
) -> Result<ConvertView, Error> {
    let target = match options.target {
        HalfFloat::Float16 => HalfType::Float16,
        HalfFloat::Bfloat16 => HalfType::Bfloat16,
    };
    if options.max_drop.is_some_and(|drop| drop.metric == Metric::Command) {
        let hint = "cosine, top1 and relative-l2 are measured here; `onnxfit quantize` asks a command".to_owned();
        return Err(Error::Binding("half precision is not judged by a command".to_owned(), Some(hint)));
    }
    let mut diagnostics = Vec::new();
    refuse_losses(model, options.force, options.random_weights.is_some() || options.no_run)?;
    let workplace = Workplace::begin(&options.output, model)?;
    let inlined =
        inline_functions(model.graph()).map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
    let graph = inlined.as_ref().unwrap_or(model.graph());
    // ONNX Runtime's CPU provider has next to no kernels for bfloat16: nothing could be run.
    let runs = !options.no_run && target == HalfType::Float16;
    if !options.no_run && !runs {
        let message = "bfloat16 was not compared: the CPU provider cannot run it";
        diagnostics.push(Diagnostic::warning("not-compared", message.to_owned()));
    }
    let samples = if let (Some(path), false) = (&options.calibration, options.no_run) {
        Some(Samples::of_path(path, graph, &options.pixels)?)
    } else if runs {
        Some(Samples::made_up(graph, request, options.seed, MADE_UP, &mut diagnostics)?)
    } else {
        None
    };
    let library = if runs { crate::library::ensure(options.offline, progress)? } else { PathBuf::new() };
    let gate = options.max_drop.map_or_else(|| Gate::of(Kind::of(target)), Gate::Asked);
    let source = weights::source(model, options.random_weights);
    let halving = Halving {
        model: graph,
        source: source.as_ref(),
        target,
        keep_io: options.keep_io,
        samples: samples.as_ref().filter(|_| runs),
        gate,
        library: &library,
        worker: &options.worker,
        desk: workplace.desk(),
        path: &workplace.model(),
    };
    let halved = halve(&halving, progress)?;
    let mut view = view(model, options, &halved, gate, samples.as_ref());
    if halved.stop.is_good() {
        view.files = workplace.finish(&options.output, halved.saved.data_name.as_deref())?;
    }
    view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
    Ok(view)
}

/// Refuses a model that would lose fields, or, unless `may_lack`, one whose weights are absent.
pub(crate) fn refuse_losses(model: &Model, force: bool, may_lack: bool) -> Result<(), Error> {
    if let (Some(first), false) = (&model.file().first_unknown_field, force) {
        let path = model.file().path().to_owned();
        return Err(onnxfit_onnx::OnnxError::WouldLose { path, first: first.clone() }.into());
    }
    let absent = if may_lack { Vec::new() } else { weights::absent(model) };
    match absent.first() {
        Some(first) => Err(Error::Rewrite {
            message: format!("{} weights are absent, first `{first}`: the model cannot run", absent.len()),
            hint: Some("put the data file beside the model, or try with `--random-weights SEED`".to_owned()),
        }),
        None => Ok(()),
    }
}

/// So many sets of inputs are made up to compare on.
pub(crate) const MADE_UP: u64 = 4;

fn view(
    model: &Model,
    options: &ConvertOptions,
    halved: &Halved,
    gate: Gate,
    samples: Option<&Samples>,
) -> ConvertView {
    const RANGES_SHOWN: usize = 10;
    let report = &halved.outcome.report;
    let before = input_bytes(model);
    let after = Bytes(halved.saved.model_bytes.get() + halved.saved.data_bytes.get());
    let mut ranges: Vec<(&String, &Seen)> = halved
        .seen
        .iter()
        .filter(|(_, seen)| seen.share_overflowing() > 0.0 || seen.share_vanishing() > 0.01)
        .collect();
    let loss = |seen: &Seen| (seen.share_overflowing() > 0.0, seen.share_vanishing());
    ranges.sort_by(|a, b| loss(b.1).partial_cmp(&loss(a.1)).unwrap_or(std::cmp::Ordering::Equal));
    ConvertView {
        schema: "onnxfit.convert/1",
        converted: halved.stop.is_good(),
        model: model.name(),
        output: options.output.display().to_string(),
        target: match options.target {
            HalfFloat::Float16 => "float16",
            HalfFloat::Bfloat16 => "bfloat16",
        },
        n_converted: report.n_converted,
        n_casts: report.n_casts,
        reasons: report.reasons().into_iter().map(|(reason, n_nodes)| ReasonView { reason, n_nodes }).collect(),
        islands: report
            .islands
            .iter()
            .map(|island| IslandView {
                node: island.node.clone(),
                op_type: island.op_type.clone(),
                reason: island.reason.to_string(),
            })
            .collect(),
        n_clamped: report.clamped.len(),
        before_bytes: before.into(),
        after_bytes: after.into(),
        ratio: after.get() as f64 / before.get().max(1) as f64,
        n_measured: halved.seen.len(),
        n_lossy: ranges.len(),
        ranges: ranges.into_iter().take(RANGES_SHOWN).map(|(name, seen)| range_view(name, seen)).collect(),
        rounds: halved
            .rounds
            .iter()
            .map(|round| RoundView {
                problem: round.problem.clone(),
                kept: round.kept.clone(),
                weights_stay: round.weights,
            })
            .collect(),
        stop_reason: halved.stop.text().to_owned(),
        verify: samples.filter(|_| halved.stop != StopReason::NotCompared).map(|samples| VerifyView {
            agrees: halved.stop == StopReason::Verified,
            how: format!(
                "both models ran on the CPU provider with {}{}{}",
                samples.text(),
                crate::by_choice::said(halved.n_given),
                odd(halved)
            ),
            tolerance: gate.text(),
            outputs: outputs(model, &halved.comparisons),
        }),
        files: Vec::new(),
        diagnostics: Vec::new(),
    }
}

/// How many answers are further off than the tolerance, in words.
fn odd(halved: &Halved) -> String {
    let n_odd = halved.comparisons.iter().filter(|comparison| !comparison.agrees).count();
    match (n_odd, halved.stop) {
        (0, _) | (_, StopReason::Rounds) => String::new(),
        (n_odd, _) => format!("; {n_odd} of these {} is further off, by less than ten times", halved.comparisons.len()),
    }
}

fn range_view(name: &str, seen: &Seen) -> RangeView {
    RangeView {
        value: name.to_owned(),
        max_abs: seen.max_abs(),
        smallest_nonzero: seen.smallest_nonzero,
        share_overflowing: seen.share_overflowing(),
        share_vanishing: seen.share_vanishing(),
    }
}

/// Each output where it is worst, and of what goes into choices the worst of all.
fn outputs(model: &Model, comparisons: &[Comparison]) -> Vec<OutputView> {
    let graph = &model.graph().graph;
    let is_answer = |output: &OutputView| graph.outputs().iter().any(|id| graph.value(*id).name == output.name);
    let (mut shown, inside): (Vec<OutputView>, Vec<OutputView>) = worst(comparisons).into_iter().partition(is_answer);
    let badness = |output: &OutputView| (output.problem.is_some(), output.relative_l2);
    let badder = |a: OutputView, b: OutputView| if badness(&b) > badness(&a) { b } else { a };
    shown.extend(inside.into_iter().reduce(badder));
    shown
}

/// Each output where it is worst.
pub(crate) fn worst(comparisons: &[Comparison]) -> Vec<OutputView> {
    let mut worst: Vec<&OutputComparison> = Vec::new();
    let badness = |output: &OutputComparison| (output.problem.is_some(), output.relative_l2);
    for output in comparisons.iter().flat_map(|comparison| &comparison.outputs) {
        match worst.iter_mut().find(|known| known.name == output.name) {
            Some(known) if badness(output) > badness(known) => *known = output,
            Some(_) => {}
            None => worst.push(output),
        }
    }
    worst.into_iter().map(output_view).collect()
}

/// The model file and the files beside it that it points into.
pub(crate) fn input_bytes(model: &Model) -> Bytes {
    let mut beside: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let folder = model.file().path().parent().unwrap_or(Path::new(""));
    let tensors = model.file().proto.graph.iter().flat_map(|graph| &graph.initializer);
    for location in tensors.filter_map(|tensor| tensor.external_location().ok().flatten()) {
        let path = folder.join(&location.location);
        beside.entry(path).or_insert_with_key(|path| std::fs::metadata(path).map_or(0, |data| data.len()));
    }
    Bytes(model.file().size().get() + beside.values().sum::<u64>())
}
