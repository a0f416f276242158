//! The answer of `onnxfit check`: contract `onnxfit.check/1`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::blame::{GrowthView, LayerView, write_growth, write_layers};
use crate::table::{Align, shorten, write_table};
use crate::timeline::TimelineView;
use crate::{DiagnosticView, Size};

/// Whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Even the high end of the prediction fits.
    Fits,
    /// The budget lies inside the prediction's band.
    Tight,
    /// Not even the low end fits.
    DoesNotFit,
    /// It could not be told.
    Unknown,
}

impl Verdict {
    /// The words for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight: it may fit, or not",
            Self::DoesNotFit => "does not fit",
            Self::Unknown => "could not tell",
        }
    }

    /// The command's exit code: 0 yes, 1 no, 2 could not tell.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Fits => 0,
            Self::DoesNotFit => 1,
            Self::Tight | Self::Unknown => 2,
        }
    }
}

/// What the model is to fit into.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TargetView {
    /// As `g4dn.xlarge`.
    pub name: String,
    /// As `T4`; `null` when only an amount was given.
    pub gpu: Option<String>,
    /// `cuda` or `cpu`.
    pub provider: String,
    /// What a session may take in all, context included; `null` for no limit.
    pub budget_bytes: Option<Size>,
}

/// The arena when the session was created.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LoadView {
    /// `InUse`.
    pub in_use_bytes: Size,
    /// `TotalAllocated`.
    pub total_bytes: Size,
}

/// The arena during one run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RunView {
    /// The highest `InUse` within this run alone.
    pub peak_in_use_bytes: Size,
    /// `TotalAllocated` at its end.
    pub total_bytes: Size,
}

/// The arena over load and three equal runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ArenaView {
    /// After the session was created.
    pub load: LoadView,
    /// Consecutive runs, outputs released in between; shorter when one fails.
    pub runs: Vec<RunView>,
}

/// A prediction with its uncertainty.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BandView {
    /// Not less than this.
    pub low: Size,
    /// Most likely this.
    pub expected: Size,
    /// Not more than this.
    pub high: Size,
}

/// The expected device peak by what it is for; sums to it exactly.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BreakdownView {
    /// Weights, repacked ones included.
    pub weights_bytes: Size,
    /// Tensors between nodes, feeds and outputs.
    pub activations_bytes: Size,
    /// What kernels use while they run.
    pub workspace_bytes: Size,
    /// Held by the arena, used by nobody at that moment.
    pub arena_slack_bytes: Size,
    /// The CUDA context, libraries and handles.
    pub context_bytes: Size,
}

/// One tensor alive at the peak.
#[derive(Clone, Debug, Serialize)]
pub struct LiveView {
    /// The tensor, or what the memory is for.
    pub tensor: String,
    /// What it takes.
    pub bytes: Size,
    /// The node that made it.
    pub producer: String,
}

/// Where the peak is, and who is alive there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PeakView {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// Largest first; sums to the bytes in use at the peak.
    pub live: Vec<LiveView>,
    /// The node at which the memory pattern's block is shown, where it is fuller than at the peak.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub block_node: String,
    /// What most of it is, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dominant: String,
    /// The same bytes by layer; sums to the bytes in use at the peak as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerView>,
}

/// The allocation that fails.
#[derive(Clone, Debug, Serialize)]
pub struct FailureView {
    /// The node; empty while loading.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// What it asks for, rounded as the arena rounds.
    pub requested_bytes: Size,
    /// What is left.
    pub available_bytes: Size,
    /// ONNX Runtime's message, its source location left out.
    pub message: String,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct CheckView {
    /// `onnxfit.check/1`.
    pub schema: &'static str,
    /// Whether it fits.
    pub verdict: Verdict,
    /// The model file.
    pub model: String,
    /// Nodes of its main graph.
    pub n_nodes: usize,
    /// Into what.
    pub target: TargetView,
    /// The dimensions it was asked for.
    pub dims: BTreeMap<String, i64>,
    /// The arena over time.
    pub arena: ArenaView,
    /// The most that the process takes on the device (on the host, for the CPU provider's arena).
    pub device_peak_bytes: BandView,
    /// What the expected peak is made of.
    pub breakdown: BreakdownView,
    /// Who is alive at the peak.
    pub peak: PeakView,
    /// What fails; `null` when nothing does.
    pub failure: Option<FailureView>,
    /// What each dimension does to the memory, where that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<GrowthView>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
    /// The settings of the session, by ONNX Runtime's names; for the report.
    #[serde(skip)]
    pub settings: Vec<(String, String)>,
    /// Memory over load and runs; for the report and the trace file.
    #[serde(skip)]
    pub timeline: TimelineView,
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &CheckView) -> io::Result<()> {
    const LIVE_SHOWN_MAX: usize = 10;
    let dims: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    writeln!(out, "{} {}", view.model, dims.join(" "))?;
    let on = match (&view.target.gpu, view.target.budget_bytes) {
        (Some(gpu), Some(budget)) if *gpu != view.target.name => format!("{} ({gpu}, {budget})", view.target.name),
        (_, Some(budget)) if view.target.name.is_empty() => format!("{budget}"),
        (_, Some(budget)) => format!("{} ({budget})", view.target.name),
        _ => "no limit".to_owned(),
    };
    writeln!(out, "{} on {on}, {} provider", view.verdict.text(), view.target.provider)?;
    writeln!(out)?;
    let band = &view.device_peak_bytes;
    if band.low == band.high {
        write!(out, "peak {}", band.expected)?;
    } else {
        write!(out, "peak {} (predicted, {} to {})", band.expected, band.low, band.high)?;
    }
    match view.peak.op_type.as_str() {
        "" => writeln!(out)?,
        op_type => writeln!(out, ", most in use at `{}` ({op_type})", view.peak.node)?,
    }
    let parts = [
        ("weights", view.breakdown.weights_bytes),
        ("activations", view.breakdown.activations_bytes),
        ("workspace", view.breakdown.workspace_bytes),
        ("arena slack", view.breakdown.arena_slack_bytes),
        ("context", view.breakdown.context_bytes),
    ];
    let rows: Vec<Vec<String>> = parts
        .iter()
        .filter(|(_, size)| size.0.get() > 0)
        .map(|(name, size)| {
            let share = format!("{:.0} %", 100.0 * size.0.ratio_to(band.expected.0));
            vec![(*name).to_owned(), size.to_string(), share]
        })
        .collect();
    write_table(out, 2, &[("", Align::Left), ("", Align::Right), ("", Align::Right)], &rows)?;
    if !view.peak.dominant.is_empty() {
        writeln!(out, "\nat the peak of the arena, {}", view.peak.dominant)?;
    }
    if !view.peak.block_node.is_empty() {
        let node = &view.peak.block_node;
        writeln!(out, "the memory pattern's block counts as what lies in it when it is fullest, at `{node}`")?;
    }
    if !view.peak.live.is_empty() {
        writeln!(out, "\nalive at the peak")?;
        let rows: Vec<Vec<String>> = view
            .peak
            .live
            .iter()
            .take(LIVE_SHOWN_MAX)
            .map(|live| vec![live.bytes.to_string(), shorten(&live.tensor, 56), shorten(&live.producer, 40)])
            .collect();
        write_table(out, 2, &[("bytes", Align::Right), ("tensor", Align::Left), ("made by", Align::Left)], &rows)?;
        if view.peak.live.len() > LIVE_SHOWN_MAX {
            let rest = view.peak.live.iter().skip(LIVE_SHOWN_MAX);
            let bytes: onnxfit_base::Bytes = rest.map(|live| live.bytes.0).sum();
            writeln!(out, "  and {} more with {bytes} in all", view.peak.live.len() - LIVE_SHOWN_MAX)?;
        }
    }
    if !view.peak.layers.is_empty() {
        writeln!(out, "\nby layer")?;
        write_layers(out, &view.peak.layers)?;
    }
    if !view.growth.is_empty() {
        writeln!(out, "\nwhat each dimension does, the others as they are")?;
        write_growth(out, &view.growth)?;
    }
    writeln!(out, "\narena       in use at most    held at its end")?;
    writeln!(out, "  load  {:>18} {:>18}", view.arena.load.in_use_bytes, view.arena.load.total_bytes)?;
    for (index, run) in view.arena.runs.iter().enumerate() {
        writeln!(out, "  run {} {:>18} {:>18}", index + 1, run.peak_in_use_bytes, run.total_bytes)?;
    }
    if let Some(failure) = &view.failure {
        writeln!(out, "\nfails: {}", failure.message)?;
    }
    write_diagnostics(out, &view.diagnostics)
}

/// Writes findings, a blank line before each group.
pub fn write_diagnostics(out: &mut impl Write, diagnostics: &[DiagnosticView]) -> io::Result<()> {
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index == 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}[{}]: {}", diagnostic.severity, diagnostic.id, diagnostic.message)?;
        if let Some(hint) = &diagnostic.hint {
            writeln!(out, "  hint: {hint}")?;
        }
    }
    Ok(())
}
