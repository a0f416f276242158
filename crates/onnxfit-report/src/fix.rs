//! The answer of `onnxfit fix`: contract `onnxfit.plan/1`.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::{BandView, CheckView, TargetView, Verdict, write_diagnostics};
use crate::table::{Align, write_table};
use crate::timeline::TimelineView;
use crate::{DiagnosticView, Size};

/// One way to run the model, with what the twin says of it.
#[derive(Clone, Debug, Serialize)]
pub struct AlternativeView {
    /// What is changed, in words; empty for the model as it is.
    pub changes: Vec<String>,
    /// `exact` or `approximate`.
    pub accuracy: &'static str,
    /// Rows that one run takes; `null` where the batch is not split.
    pub micro_batch: Option<u64>,
    /// Runs that one request takes.
    pub n_runs: u64,
    /// Predicted peak.
    pub peak_bytes: BandView,
    /// What the arena holds after three runs.
    pub held_bytes: Size,
    /// Whether that fits.
    pub verdict: Verdict,
}

/// One set of options, and what the twin says of it.
#[derive(Clone, Debug, Serialize)]
pub struct OptionView {
    /// What is set, in ONNX Runtime's words; empty for its defaults.
    pub changes: Vec<String>,
    /// Predicted peak of everything.
    pub peak_bytes: Size,
    /// What the arena holds once the outputs of the third run are released.
    pub held_bytes: Size,
    /// Whether that fits.
    pub verdict: Verdict,
    /// How it is set, where that is not plain.
    pub note: String,
}

/// An option that does nothing here.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedOptionView {
    /// The option, and where it was put.
    pub name: String,
    /// Why it does nothing.
    pub why: String,
}

/// One kind of change, and why it was taken or not.
#[derive(Clone, Debug, Serialize)]
pub struct ConsideredView {
    /// What would be changed.
    pub change: &'static str,
    /// `taken`, `not taken`, `not enough` or `not possible`.
    pub outcome: &'static str,
    /// Why.
    pub reason: String,
}

/// A place to run it for money.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceView {
    /// The instance type.
    pub name: String,
    /// Its GPU.
    pub gpu: String,
    /// Device memory for one session.
    pub budget_bytes: Size,
    /// On demand, in the region named.
    pub usd_per_hour: Option<f64>,
    /// The region and the date of the price.
    pub price_basis: String,
}

/// How one output of the fitted model compares with the original's.
#[derive(Clone, Debug, Serialize)]
pub struct OutputView {
    /// The output.
    pub name: String,
    /// Largest absolute difference.
    pub max_absolute_error: f64,
    /// Relative distance of the two as vectors.
    pub relative_l2: f64,
    /// Cosine of the angle between them.
    pub cosine: f64,
    /// Share of rows with the same largest element; `null` where the output is no score.
    pub top1_agreement: Option<f64>,
    /// Why it is not the same answer; `null` when it is.
    pub problem: Option<String>,
}

/// The proof: both models run on the same inputs.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyView {
    /// Whether every output is within the tolerance.
    pub agrees: bool,
    /// What was run, in words.
    pub how: String,
    /// The tolerance, in words.
    pub tolerance: String,
    /// Output by output.
    pub outputs: Vec<OutputView>,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct FixView {
    /// `onnxfit.plan/1`.
    pub schema: &'static str,
    /// Whether a plan was found.
    pub fitted: bool,
    /// The model file.
    pub model: String,
    /// Into what.
    pub target: TargetView,
    /// The model as it is.
    pub before: CheckView,
    /// The plan taken; `null` when nothing allowed is enough.
    pub chosen: Option<AlternativeView>,
    /// What each option of session and arena does alone: the request as it is, then least first.
    pub options: Vec<OptionView>,
    /// Options that do nothing here.
    pub refused_options: Vec<RefusedOptionView>,
    /// Everything else that was weighed, best first.
    pub alternatives: Vec<AlternativeView>,
    /// Every kind of change, and why it was taken or not.
    pub considered: Vec<ConsideredView>,
    /// Why the search ended.
    pub stop_reason: String,
    /// Instances that hold the request as it is, cheapest first.
    pub instances: Vec<InstanceView>,
    /// The proof; `null` when it was not asked for or cannot be had.
    pub verify: Option<VerifyView>,
    /// Files written, relative to the output folder.
    pub files: Vec<String>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
    /// Memory over load and runs with the plan; for the report.
    #[serde(skip)]
    pub timeline: Option<TimelineView>,
}

fn write_options(out: &mut impl Write, view: &FixView) -> io::Result<()> {
    if !view.options.is_empty() {
        writeln!(out, "\noptions, each replayed")?;
        let rows: Vec<Vec<String>> = view
            .options
            .iter()
            .map(|option| {
                let changes = if option.changes.is_empty() { "as asked".to_owned() } else { option.changes.join("; ") };
                vec![
                    option.peak_bytes.to_string(),
                    option.held_bytes.to_string(),
                    option.verdict.text().to_owned(),
                    changes,
                    option.note.clone(),
                ]
            })
            .collect();
        let header = [
            ("peak", Align::Right),
            ("held", Align::Right),
            ("verdict", Align::Left),
            ("options", Align::Left),
            ("", Align::Left),
        ];
        write_table(out, 2, &header, &rows)?;
    }
    for option in &view.refused_options {
        writeln!(out, "  no use: {} ({})", option.name, option.why)?;
    }
    Ok(())
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &FixView) -> io::Result<()> {
    const SHOWN_MAX: usize = 6;
    crate::check::write_text(out, &view.before)?;
    writeln!(out)?;
    match &view.chosen {
        Some(chosen) if chosen.changes.is_empty() => writeln!(out, "plan: run it as it is")?,
        Some(chosen) => {
            writeln!(out, "plan ({})", chosen.accuracy)?;
            for change in &chosen.changes {
                writeln!(out, "  - {change}")?;
            }
            writeln!(
                out,
                "  peak {} ({} to {})",
                chosen.peak_bytes.expected, chosen.peak_bytes.low, chosen.peak_bytes.high
            )?;
        }
        None => writeln!(out, "no plan: {}", view.stop_reason)?,
    }
    let others: Vec<&AlternativeView> = view.alternatives.iter().take(SHOWN_MAX).collect();
    if !others.is_empty() {
        writeln!(out, "\nalso weighed")?;
        let rows: Vec<Vec<String>> = others
            .iter()
            .map(|other| {
                let changes = if other.changes.is_empty() { "as it is".to_owned() } else { other.changes.join("; ") };
                vec![
                    other.peak_bytes.expected.to_string(),
                    other.n_runs.to_string(),
                    other.accuracy.to_owned(),
                    other.verdict.text().to_owned(),
                    changes,
                ]
            })
            .collect();
        let header = [
            ("peak", Align::Right),
            ("runs", Align::Right),
            ("accuracy", Align::Left),
            ("verdict", Align::Left),
            ("changes", Align::Left),
        ];
        write_table(out, 2, &header, &rows)?;
    }
    write_options(out, view)?;
    if !view.instances.is_empty() {
        writeln!(out, "\ninstances that hold it as it is")?;
        let rows: Vec<Vec<String>> = view
            .instances
            .iter()
            .take(3)
            .map(|instance| {
                let price = instance.usd_per_hour.map_or_else(|| "no price".to_owned(), |usd| format!("${usd:.3}/h"));
                vec![
                    instance.name.clone(),
                    instance.gpu.clone(),
                    instance.budget_bytes.to_string(),
                    price,
                    instance.price_basis.clone(),
                ]
            })
            .collect();
        let header = [
            ("type", Align::Left),
            ("GPU", Align::Left),
            ("memory", Align::Right),
            ("on demand", Align::Right),
            ("", Align::Left),
        ];
        write_table(out, 2, &header, &rows)?;
    }
    if let Some(verify) = &view.verify {
        writeln!(out, "\n{}: {}", if verify.agrees { "proved" } else { "NOT the same answer" }, verify.how)?;
        for output in &verify.outputs {
            let top1 = output
                .top1_agreement
                .map_or_else(String::new, |share| format!(", top-1 agreement {:.1} %", 100.0 * share));
            writeln!(
                out,
                "  {}: max abs error {:.2e}, relative L2 {:.2e}, cosine {:.6}{top1}{}",
                output.name,
                output.max_absolute_error,
                output.relative_l2,
                output.cosine,
                output.problem.as_ref().map_or_else(String::new, |problem| format!(" ({problem})")),
            )?;
        }
        writeln!(out, "  tolerance: {}", verify.tolerance)?;
    }
    if !view.files.is_empty() {
        writeln!(out, "\nwritten: {}", view.files.join(", "))?;
    }
    write_diagnostics(out, &view.diagnostics)
}
