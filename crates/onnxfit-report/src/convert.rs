//! The answer of `onnxfit convert`: contract `onnxfit.convert/1`.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::write_diagnostics;
use crate::fix::VerifyView;
use crate::{DiagnosticView, Size};

/// A node that stays as it was.
#[derive(Clone, Debug, Serialize)]
pub struct IslandView {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// Why.
    pub reason: String,
}

/// How many nodes stay for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonView {
    /// The reason.
    pub reason: String,
    /// How many.
    pub n_nodes: usize,
}

/// A value that loses numbers in the new type.
#[derive(Clone, Debug, Serialize)]
pub struct RangeView {
    /// The value.
    pub value: String,
    /// The largest magnitude that was seen.
    pub max_abs: f32,
    /// The smallest magnitude above zero; `null` where all are zero.
    pub smallest_nonzero: Option<f32>,
    /// The share of numbers past the range.
    pub share_overflowing: f64,
    /// The share of nonzero numbers that would become zero.
    pub share_vanishing: f64,
}

/// One step back.
#[derive(Clone, Debug, Serialize)]
pub struct RoundView {
    /// Why the model before it was not good enough.
    pub problem: String,
    /// Nodes that compute in float because of that.
    pub kept: Vec<String>,
    /// Whether their weights stay float, too.
    pub weights_stay: bool,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct ConvertView {
    /// `onnxfit.convert/1`.
    pub schema: &'static str,
    /// Whether the model was written.
    pub converted: bool,
    /// The model file.
    pub model: String,
    /// The file to write.
    pub output: String,
    /// `float16` or `bfloat16`.
    pub target: &'static str,
    /// Nodes that compute in the new type.
    pub n_converted: usize,
    /// Casts that were added.
    pub n_casts: usize,
    /// Why nodes stay, most often first.
    pub reasons: Vec<ReasonView>,
    /// The nodes that stay, in the order of the model.
    pub islands: Vec<IslandView>,
    /// Weights with numbers past the range.
    pub n_clamped: usize,
    /// The files before.
    pub before_bytes: Size,
    /// The files after.
    pub after_bytes: Size,
    /// After over before.
    pub ratio: f64,
    /// Values whose range was measured.
    pub n_measured: usize,
    /// Values among them that the new type would harm.
    pub n_lossy: usize,
    /// The worst of them.
    pub ranges: Vec<RangeView>,
    /// Steps back that were made.
    pub rounds: Vec<RoundView>,
    /// Why the conversion ended.
    pub stop_reason: String,
    /// The comparison; `null` when nothing ran.
    pub verify: Option<VerifyView>,
    /// Files written, beside each other.
    pub files: Vec<String>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &ConvertView) -> io::Result<()> {
    const SHOWN_MAX: usize = 5;
    let n_islands = view.islands.len();
    let verdict = if view.converted { "converted" } else { "NOT converted" };
    writeln!(out, "{verdict} to {}: {}", view.target, view.stop_reason)?;
    writeln!(
        out,
        "  {} to {} ({:.2} of it), {} nodes in half precision, {n_islands} stay, {} casts",
        view.before_bytes, view.after_bytes, view.ratio, view.n_converted, view.n_casts
    )?;
    for reason in &view.reasons {
        let of_reason = view.islands.iter().filter(|island| island.reason == reason.reason).take(3);
        let first: Vec<String> = of_reason.map(|island| format!("{} `{}`", island.op_type, island.node)).collect();
        let more = if reason.n_nodes > first.len() { ", …" } else { "" };
        writeln!(out, "  {} stay: {} ({}{more})", reason.n_nodes, reason.reason, first.join(", "))?;
    }
    if view.n_clamped > 0 {
        writeln!(out, "  {} weights had numbers past the range: they are the largest there is", view.n_clamped)?;
    }
    if view.n_measured > 0 {
        writeln!(out, "\nmeasured {} values, {} would lose numbers", view.n_measured, view.n_lossy)?;
        for range in view.ranges.iter().take(SHOWN_MAX) {
            writeln!(
                out,
                "  `{}`: up to {:.3e}, {:.1} % past the range, {:.1} % would vanish",
                range.value,
                range.max_abs,
                100.0 * range.share_overflowing,
                100.0 * range.share_vanishing
            )?;
        }
    }
    for (index, round) in view.rounds.iter().enumerate() {
        let first: Vec<&str> = round.kept.iter().take(SHOWN_MAX).map(String::as_str).collect();
        let more = if round.kept.len() > first.len() { ", …" } else { "" };
        let n_kept = round.kept.len();
        let what = if round.weights_stay { "kept the weights of" } else { "in float compute" };
        let first = first.join(", ");
        writeln!(out, "step back {}: {}; {what} {n_kept} nodes: {first}{more}", index + 1, round.problem)?;
    }
    if let Some(verify) = &view.verify {
        write_verify(out, verify)?;
    }
    if !view.files.is_empty() {
        writeln!(out, "\nwritten: {}", view.files.join(", "))?;
    }
    write_diagnostics(out, &view.diagnostics)
}

/// The comparison, output by output.
pub(crate) fn write_verify(out: &mut impl Write, verify: &VerifyView) -> io::Result<()> {
    writeln!(out, "\n{}: {}", if verify.agrees { "verified" } else { "NOT the same answer" }, verify.how)?;
    for output in &verify.outputs {
        let problem = output.problem.as_ref().map_or_else(String::new, |problem| format!(" ({problem})"));
        writeln!(
            out,
            "  {}: max abs error {:.2e}, relative L2 {:.2e}, cosine {:.6}{problem}",
            output.name, output.max_absolute_error, output.relative_l2, output.cosine
        )?;
    }
    writeln!(out, "  tolerance: {}", verify.tolerance)
}
