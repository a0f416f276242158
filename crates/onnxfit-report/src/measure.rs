//! `onnxfit measure`: a real run beside the prediction (`onnxfit.measure/1`).

mod sweep;

use std::collections::BTreeMap;
use std::io::{self, Write};

use onnxfit_base::Bytes;
use serde::Serialize;

use crate::check::write_diagnostics;
use crate::table::{Align, shorten, write_table};
use crate::{DiagnosticView, Size};

pub use sweep::{StepView, SweepView, knee, write_sweep};

/// An arena's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountersView {
    /// `InUse`.
    pub in_use_bytes: Size,
    /// The highest `InUse`: of that run alone where [`MeasureView::peaks_are_isolated`].
    pub peak_in_use_bytes: Size,
    /// `TotalAllocated`.
    pub total_bytes: Size,
    /// `NumAllocs`.
    pub n_allocs: u64,
    /// `NumReserves`.
    pub n_reserves: u64,
    /// `NumArenaExtensions`.
    pub n_extensions: u64,
}

/// One moment, predicted and measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageView {
    /// `load`, `run 1`, `run 1 released`, …
    pub stage: String,
    /// What the twin says; `None` where it says that nothing gets that far.
    pub predicted: Option<CountersView>,
    /// What the allocator says; `None` where nothing got that far.
    pub measured: Option<CountersView>,
}

/// What one node left in the arena when its kernel returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// From one.
    pub run: usize,
    /// Its name.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// Bytes in use; `None` where the twin does not run that node here.
    pub predicted_in_use_bytes: Option<Size>,
    /// The profile's `mem_bytes_in_use`.
    pub measured_in_use_bytes: Size,
    /// Bytes that the arena holds.
    pub predicted_held_bytes: Option<Size>,
    /// The profile's `mem_arena_held`.
    pub measured_held_bytes: Size,
}

impl NodeView {
    /// Whether the twin and the profile agree on both counters.
    pub fn is_equal(&self) -> bool {
        self.predicted_in_use_bytes == Some(self.measured_in_use_bytes)
            && self.predicted_held_bytes == Some(self.measured_held_bytes)
    }
}

/// One growth of the arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtensionsView {
    /// As the twin extends it.
    pub predicted_bytes: Vec<Size>,
    /// As the arena's log tells.
    pub measured_bytes: Vec<Size>,
}

/// The process that ran the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// `VmRSS` after loading; zero where the system does not tell.
    pub loaded_resident_bytes: Size,
    /// `VmRSS` after the last run.
    pub end_resident_bytes: Size,
    /// `VmHWM`: the most it ever was.
    pub peak_resident_bytes: Size,
    /// How much more of the GPU's memory was in use while the session was loaded than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<Size>,
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimeView {
    /// Loading.
    pub load_seconds: f64,
    /// Each run.
    pub run_seconds: Vec<f64>,
}

/// The first attempt that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FailuresView {
    /// As the twin says.
    pub predicted: Option<String>,
    /// As ONNX Runtime said.
    pub measured: Option<String>,
}

/// The whole comparison in one line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AccuracyView {
    /// Figures compared: bytes in use and held after load, peak and held for each run and release.
    pub n_figures: usize,
    /// Those equal to the byte.
    pub n_figures_equal: usize,
    /// Node moments compared.
    pub n_nodes: usize,
    /// Those equal to the byte.
    pub n_nodes_equal: usize,
    /// Predicted over measured peak of all runs, less one.
    pub peak_error: f64,
    /// The line.
    pub text: String,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct MeasureView {
    /// `onnxfit.measure/1`.
    pub schema: &'static str,
    /// The model file.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// ONNX Runtime's release.
    pub ort_version: String,
    /// The dimensions it ran with.
    pub dims: BTreeMap<String, i64>,
    /// Where its inputs and weights come from.
    pub inputs: String,
    /// Whether each run's peak is its own. A GPU's arena, and one with a limit, only tell the
    /// highest so far; the prediction is then shown the same way.
    pub peaks_are_isolated: bool,
    /// After load, after each run, after the release of its outputs.
    pub stages: Vec<StageView>,
    /// Growths of the arena in order.
    pub extensions: ExtensionsView,
    /// Node by node; empty when the profile of this release tells no bytes.
    pub nodes: Vec<NodeView>,
    /// Index in `nodes` of the first place where the two part.
    pub first_difference: Option<usize>,
    /// The process.
    pub process: ProcessView,
    /// Time.
    pub time: TimeView,
    /// What was refused.
    pub failures: FailuresView,
    /// In one line.
    pub accuracy: AccuracyView,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
    /// Allocation traffic, `load` and `run N` lines between; for `--trace`.
    #[serde(skip)]
    pub trace: Vec<String>,
}

impl AccuracyView {
    /// Whether everything that was compared is equal to the byte.
    pub fn is_equal(&self) -> bool {
        self.n_figures_equal == self.n_figures && self.n_nodes_equal == self.n_nodes
    }
}

/// The figures of a stage that are held against each other.
pub(crate) fn figures(stage: &StageView) -> Vec<(&'static str, Option<Size>, Option<Size>)> {
    let pick =
        |read: fn(&CountersView) -> Size| (stage.predicted.as_ref().map(read), stage.measured.as_ref().map(read));
    let in_use = pick(|counters| counters.in_use_bytes);
    let peak = pick(|counters| counters.peak_in_use_bytes);
    let held = pick(|counters| counters.total_bytes);
    let is_run = stage.stage.starts_with("run") && !stage.stage.ends_with("released");
    let first = if is_run { ("in use at most", peak.0, peak.1) } else { ("in use", in_use.0, in_use.1) };
    vec![first, ("held", held.0, held.1)]
}

/// Says how well prediction and measurement agree.
pub fn accuracy(stages: &[StageView], nodes: &[NodeView]) -> AccuracyView {
    let mut view = AccuracyView::default();
    let mut first = None;
    for stage in stages {
        for (name, predicted, measured) in figures(stage) {
            view.n_figures += 1;
            if predicted == measured {
                view.n_figures_equal += 1;
            } else if first.is_none() {
                let shown = |size: Option<Size>| size.map_or("nothing".to_owned(), |size| group(size.0.get()));
                first = Some(format!(
                    "{} {name}: {} predicted, {} measured",
                    stage.stage,
                    shown(predicted),
                    shown(measured)
                ));
            }
        }
    }
    view.n_nodes = nodes.len();
    view.n_nodes_equal = nodes.iter().filter(|node| node.is_equal()).count();
    let peak = |side: fn(&StageView) -> Option<&CountersView>| {
        stages.iter().filter_map(side).map(|counters| counters.peak_in_use_bytes.0).max().unwrap_or_default()
    };
    let (predicted, measured) = (peak(|stage| stage.predicted.as_ref()), peak(|stage| stage.measured.as_ref()));
    view.peak_error = if measured == Bytes(0) { 0.0 } else { predicted.ratio_to(measured) - 1.0 };
    let of_nodes = match view.n_nodes {
        0 => String::new(),
        n_nodes => format!(", {} of {n_nodes} node moments", view.n_nodes_equal),
    };
    view.text = match first {
        None if !view.is_equal() => format!("{} of {} figures equal{of_nodes}", view.n_figures_equal, view.n_figures),
        None => format!("equal to the byte: {} of {} figures{of_nodes}", view.n_figures_equal, view.n_figures),
        Some(first) => format!(
            "{} of {} figures{of_nodes} equal, peak {:+.2} %; first {first}",
            view.n_figures_equal,
            view.n_figures,
            100.0 * view.peak_error
        ),
    };
    view
}

/// Writes the answer for a person; all nodes, or those around the first difference.
pub fn write_text(out: &mut impl Write, view: &MeasureView, all_nodes: bool) -> io::Result<()> {
    let dims: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    writeln!(out, "{} {}", view.model, dims.join(" "))?;
    writeln!(out, "ONNX Runtime {}, {} provider, {}", view.ort_version, view.provider, view.inputs)?;
    writeln!(out)?;
    let mut rows = Vec::new();
    for stage in &view.stages {
        for (index, (name, predicted, measured)) in figures(stage).into_iter().enumerate() {
            let title = if index == 0 { stage.stage.clone() } else { String::new() };
            rows.push(vec![title, name.to_owned(), bytes(predicted), bytes(measured), difference(predicted, measured)]);
        }
    }
    let header = [
        ("arena", Align::Left),
        ("bytes", Align::Left),
        ("predicted", Align::Right),
        ("measured", Align::Right),
        ("", Align::Right),
    ];
    write_table(out, 0, &header, &rows)?;
    if !view.peaks_are_isolated {
        writeln!(out, "  `in use at most` is the highest so far: this arena does not tell each run's own")?;
    }
    let list = |sizes: &[Size]| sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let extensions = &view.extensions;
    if extensions.predicted_bytes == extensions.measured_bytes {
        writeln!(out, "\nthe arena grew by {}, as predicted", list(&extensions.measured_bytes))?;
    } else {
        writeln!(out, "\nthe arena grew by   {}", list(&extensions.measured_bytes))?;
        writeln!(out, "predicted growth by {}", list(&extensions.predicted_bytes))?;
    }
    write_nodes(out, view, all_nodes)?;
    let process = &view.process;
    if process.peak_resident_bytes.0 > Bytes(0) {
        writeln!(
            out,
            "\nprocess {} resident after load, {} at the end, {} at most",
            process.loaded_resident_bytes, process.end_resident_bytes, process.peak_resident_bytes
        )?;
    }
    if let Some(device) = process.device_bytes {
        writeln!(out, "device {device} more in use than before")?;
    }
    let runs: Vec<String> = view.time.run_seconds.iter().map(|seconds| format!("{:.1}", seconds * 1e3)).collect();
    writeln!(out, "time {:.0} ms load, {} ms runs", view.time.load_seconds * 1e3, runs.join(", "))?;
    match (&view.failures.predicted, &view.failures.measured) {
        (None, None) => {}
        (predicted, measured) => {
            writeln!(out, "\nfails, predicted: {}", predicted.as_deref().unwrap_or("no"))?;
            writeln!(out, "fails, really:    {}", measured.as_deref().unwrap_or("no"))?;
        }
    }
    writeln!(out, "\naccuracy: {}", view.accuracy.text)?;
    write_diagnostics(out, &view.diagnostics)
}

fn write_nodes(out: &mut impl Write, view: &MeasureView, all_nodes: bool) -> io::Result<()> {
    const AROUND: usize = 6;
    if view.nodes.is_empty() {
        return Ok(());
    }
    // The place where they part, else the place where most is in use.
    let highest = || (0..view.nodes.len()).rev().max_by_key(|&index| view.nodes[index].measured_in_use_bytes);
    let center = view.first_difference.or_else(highest).unwrap_or_default();
    let shown = if all_nodes {
        0..view.nodes.len()
    } else {
        center.saturating_sub(AROUND)..(center + AROUND + 1).min(view.nodes.len())
    };
    let what = match (view.first_difference, all_nodes) {
        (_, true) => "node by node",
        (Some(_), false) => "nodes around the first place where they part",
        (None, false) => "nodes around the most in use; all others agree too",
    };
    writeln!(out, "\n{what}: in use when the kernel returned, and held")?;
    let rows: Vec<Vec<String>> = shown
        .map(|index| {
            let node = &view.nodes[index];
            let mark = if Some(index) == view.first_difference { ">" } else { "" };
            vec![
                mark.to_owned(),
                node.run.to_string(),
                shorten(&node.node, 44),
                shorten(&node.op_type, 24),
                bytes(node.predicted_in_use_bytes),
                bytes(Some(node.measured_in_use_bytes)),
                difference(node.predicted_in_use_bytes, Some(node.measured_in_use_bytes)),
                difference(node.predicted_held_bytes, Some(node.measured_held_bytes)),
            ]
        })
        .collect();
    let header = [
        ("", Align::Left),
        ("run", Align::Right),
        ("node", Align::Left),
        ("operator", Align::Left),
        ("predicted", Align::Right),
        ("measured", Align::Right),
        ("", Align::Right),
        ("held", Align::Right),
    ];
    write_table(out, 0, &header, &rows)
}

fn bytes(size: Option<Size>) -> String {
    size.map_or_else(|| "-".to_owned(), |size| group(size.0.get()))
}

fn difference(predicted: Option<Size>, measured: Option<Size>) -> String {
    match (predicted, measured) {
        (Some(predicted), Some(measured)) if predicted == measured => "equal".to_owned(),
        (Some(Size(predicted)), Some(Size(measured))) if predicted > measured => {
            format!("+{}", group((predicted - measured).get()))
        }
        (Some(Size(predicted)), Some(Size(measured))) => format!("-{}", group((measured - predicted).get())),
        _ => "-".to_owned(),
    }
}

/// An exact number, its digits in threes.
fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
