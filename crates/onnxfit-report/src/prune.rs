//! The answer of `onnxfit prune`: contract `onnxfit.prune/1`.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::write_diagnostics;
use crate::convert::write_verify;
use crate::fix::VerifyView;
use crate::{DiagnosticView, Size};

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct PruneView {
    /// `onnxfit.prune/1`.
    pub schema: &'static str,
    /// Whether the model was written.
    pub pruned: bool,
    /// The model file.
    pub model: String,
    /// The file that is written.
    pub output: String,
    /// How channels were compared: `magnitude`, `wanda`, `taylor`; empty where shapes stay.
    pub importance: String,
    /// How it was to recover: `off`, `refit`, `distill`.
    pub recover: String,
    /// Groups of channels, heads or features that depend on each other.
    pub n_groups: usize,
    /// Channels, heads and features that may go.
    pub n_atoms: usize,
    /// Those that went.
    pub n_removed: usize,
    /// Of the weights' bytes, how much is in groups at all: what would be left were they pruned to
    /// the least.
    pub least_weights_bytes: Size,
    /// The weights before and after.
    pub weights: ChangeView,
    /// The arena at its peak, as the twin predicts it, before and after.
    pub predicted_peak: Option<ChangeView>,
    /// The same, measured.
    pub measured_peak: Option<ChangeView>,
    /// What was asked for, in words.
    pub target: String,
    /// Whether the target was reached.
    pub reached: bool,
    /// Weights that the refit changed.
    pub n_refitted: usize,
    /// Loss of the distillation at its beginning and end.
    pub distilled: Option<(f64, f64)>,
    /// The groups that lost something, most of it first.
    pub groups: Vec<GroupView>,
    /// The pruned model before any recovery against the whole model with the same weights set to
    /// zero: the proof that the cut is right.
    pub proof: Option<VerifyView>,
    /// The written model against the original: what the pruning costs.
    pub drift: Option<VerifyView>,
    /// Files written, beside each other.
    pub files: Vec<String>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Bytes before and after.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    /// Before.
    pub before_bytes: Size,
    /// After.
    pub after_bytes: Size,
    /// After over before.
    pub ratio: f64,
}

impl ChangeView {
    /// A change.
    pub fn new(before: impl Into<Size>, after: impl Into<Size>) -> Self {
        let (before_bytes, after_bytes) = (before.into(), after.into());
        let ratio = after_bytes.0.get() as f64 / before_bytes.0.get().max(1) as f64;
        Self { before_bytes, after_bytes, ratio }
    }
}

/// A group of channels, heads or features.
#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    /// A tensor and axis that it is in.
    pub axis: String,
    /// How many there were.
    pub n_before: usize,
    /// How many are left.
    pub n_after: usize,
    /// How far the answers moved when it alone was thinned; none where that was not measured.
    pub sensitivity: Option<f64>,
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &PruneView) -> io::Result<()> {
    const GROUPS_SHOWN: usize = 12;
    let verdict = if view.pruned { "pruned" } else { "NOT pruned" };
    let reached = if view.reached { "" } else { " (not reached)" };
    writeln!(out, "{verdict}: {}{reached}", view.target)?;
    if view.n_groups > 0 {
        writeln!(
            out,
            "{} of {} channels and heads went, in {} groups, compared by {}",
            view.n_removed, view.n_atoms, view.n_groups, view.importance
        )?;
    }
    let change = |out: &mut dyn Write, what: &str, change: &ChangeView| {
        let ChangeView { before_bytes, after_bytes, ratio } = change;
        writeln!(out, "  {what:<28} {before_bytes} -> {after_bytes} ({:.1} %)", 100.0 * ratio)
    };
    change(out, "weights", &view.weights)?;
    if let Some(peak) = &view.predicted_peak {
        change(out, "arena peak (predicted)", peak)?;
    }
    if let Some(peak) = &view.measured_peak {
        change(out, "arena peak (measured)", peak)?;
    }
    if view.n_refitted > 0 {
        writeln!(out, "{} weights were refitted to what is left", view.n_refitted)?;
    }
    if let Some((first, last)) = view.distilled {
        writeln!(out, "distilled from the original: loss {first:.4} -> {last:.4}")?;
    }
    if !view.groups.is_empty() {
        writeln!(out, "\n  left of    group")?;
    }
    for group in view.groups.iter().take(GROUPS_SHOWN) {
        let moved =
            group.sensitivity.map_or(String::new(), |moved| format!("  (alone it moves the answers by {moved:.1e})"));
        writeln!(out, "  {:>4} of {:<4} {}{moved}", group.n_after, group.n_before, group.axis)?;
    }
    if view.groups.len() > GROUPS_SHOWN {
        writeln!(out, "  and {} more", view.groups.len() - GROUPS_SHOWN)?;
    }
    if let Some(proof) = &view.proof {
        write_verify(out, proof)?;
    }
    if let Some(drift) = &view.drift {
        writeln!(out, "\nhow far the answers moved: {}", drift.how)?;
        for output in &drift.outputs {
            let top1 = output
                .top1_agreement
                .map_or(String::new(), |share| format!(", top-1 agreement {:.1} %", 100.0 * share));
            let (distance, cosine) = (output.relative_l2, output.cosine);
            writeln!(out, "  {}: relative L2 {distance:.2e}, cosine {cosine:.4}{top1}", output.name)?;
        }
    }
    if !view.files.is_empty() {
        writeln!(out, "\nwritten: {}", view.files.join(", "))?;
    }
    write_diagnostics(out, &view.diagnostics)
}
