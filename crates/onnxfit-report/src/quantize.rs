//! The answer of `onnxfit quantize`: contract `onnxfit.quantize/1`.

mod page;

use std::io::{self, Write};

use serde::Serialize;

use crate::check::write_diagnostics;
use crate::convert::write_verify;
use crate::fix::VerifyView;
use crate::table::{Align, shorten, write_table};
use crate::{DiagnosticView, Size};

pub use page::write_html;

/// What one layer got.
#[derive(Clone, Debug, Serialize)]
pub struct LayerView {
    /// The layer.
    pub name: String,
    /// Its operator.
    pub op_type: String,
    /// How many weights it has.
    pub n_weights: u64,
    /// `int4`, `int8`, `fp16` or `fp32`.
    pub level: &'static str,
    /// The error when it alone is quantized; `null` where that was not tried.
    pub error_alone: Option<f64>,
    /// Why it has this level.
    pub reason: String,
}

/// A model that was tried whole.
#[derive(Clone, Debug, Serialize)]
pub struct CurvePointView {
    /// Steps back that had been made.
    pub n_steps_back: usize,
    /// What its file takes.
    pub size_bytes: Size,
    /// The worst error of any output.
    pub error: f64,
    /// Whether the gate let it through.
    pub agrees: bool,
}

/// A range that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct RangeView {
    /// The value.
    pub value: String,
    /// From here.
    pub lowest: f32,
    /// To here.
    pub highest: f32,
}

/// What was measured beforehand.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrationView {
    /// Samples that ran.
    pub n_samples: u64,
    /// Values with a range.
    pub n_values: usize,
    /// Numbers that were NaN or infinite, and were left out.
    pub n_not_finite: u64,
    /// The ranges.
    pub ranges: Vec<RangeView>,
}

/// A kernel in the graph that ONNX Runtime runs.
#[derive(Clone, Debug, Serialize)]
pub struct KernelView {
    /// Its operator.
    pub kernel: String,
    /// How many there are.
    pub n_nodes: usize,
}

/// The arena's peak before and after.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryView {
    /// `CPU` or `CUDA`.
    pub provider: &'static str,
    /// Before.
    pub before_peak_bytes: Size,
    /// After.
    pub after_peak_bytes: Size,
    /// `predicted`, or `measured` where the CPU provider's layout is not imitated.
    pub how: &'static str,
    /// Whether it falls.
    pub falls: bool,
}

/// What one part of the work took.
#[derive(Clone, Debug, Serialize)]
pub struct SpentView {
    /// `preparing`, `float model`, `ranges`, `trials`, `building`, `writing`, `looking at the result`.
    pub what: &'static str,
    /// So long.
    pub seconds: f64,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizeView {
    /// `onnxfit.quantize/1`.
    pub schema: &'static str,
    /// Whether the model was written.
    pub quantized: bool,
    /// `static`, `dynamic` or `weights`.
    pub scheme: &'static str,
    /// The model file.
    pub model: String,
    /// The file to write.
    pub output: String,
    /// The files before.
    pub before_bytes: Size,
    /// The files after.
    pub after_bytes: Size,
    /// After over before.
    pub ratio: f64,
    /// What was done to the float model first.
    pub preparation: Vec<String>,
    /// What was measured beforehand; `null` where nothing needs to be.
    pub calibration: Option<CalibrationView>,
    /// What `error` is.
    pub error_name: &'static str,
    /// The worst error of any output.
    pub error: f64,
    /// The layers, in the order of the model.
    pub layers: Vec<LayerView>,
    /// The kernels on integers in the graph that ONNX Runtime runs.
    pub kernels: Vec<KernelView>,
    /// Size against error: the models that were tried whole.
    pub curve: Vec<CurvePointView>,
    /// The arena's peak.
    pub memory: Vec<MemoryView>,
    /// Why the search ended.
    pub stop_reason: String,
    /// The comparison; `null` when there was nothing to compare.
    pub verify: Option<VerifyView>,
    /// More of what was done.
    pub notes: Vec<String>,
    /// Where time went.
    pub spent: Vec<SpentView>,
    /// Files written, beside each other.
    pub files: Vec<String>,
    /// Findings.
    pub diagnostics: Vec<DiagnosticView>,
}

impl QuantizeView {
    /// How many layers have each level, fewest bits first.
    pub fn levels(&self) -> Vec<(&'static str, usize)> {
        let count = |level| self.layers.iter().filter(|layer| layer.level == level).count();
        ["int4", "int8", "fp16", "fp32"]
            .map(|level| (level, count(level)))
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .collect()
    }
}

/// Writes the answer for a person.
pub fn write_text(out: &mut impl Write, view: &QuantizeView) -> io::Result<()> {
    const SHOWN_MAX: usize = 12;
    let verdict = if view.quantized { "quantized" } else { "NOT quantized" };
    let levels: Vec<String> = view.levels().iter().map(|(level, n)| format!("{n} {level}")).collect();
    writeln!(out, "{verdict} ({}): {}", view.scheme, view.stop_reason)?;
    writeln!(
        out,
        "  {} to {} ({:.2} of it), layers: {}, {} {:.2e}",
        view.before_bytes,
        view.after_bytes,
        view.ratio,
        if levels.is_empty() { "none".to_owned() } else { levels.join(", ") },
        view.error_name,
        view.error
    )?;
    for line in view.preparation.iter().chain(&view.notes) {
        writeln!(out, "  {line}")?;
    }
    if let Some(calibration) = &view.calibration {
        let left_out = match calibration.n_not_finite {
            0 => String::new(),
            n => format!("; {n} NaN or infinite numbers were left out"),
        };
        let (n_values, n_samples) = (calibration.n_values, calibration.n_samples);
        writeln!(out, "  ranges of {n_values} values over {n_samples} samples{left_out}")?;
    }
    if !view.kernels.is_empty() {
        let kernels: Vec<String> = view.kernels.iter().map(|of| format!("{} {}", of.n_nodes, of.kernel)).collect();
        writeln!(out, "  ONNX Runtime runs {}", kernels.join(", "))?;
    }
    let mut back: Vec<&LayerView> = view.layers.iter().filter(|layer| layer.reason.starts_with("stepped")).collect();
    if !back.is_empty() {
        back.sort_by(|a, b| b.error_alone.unwrap_or(f64::MAX).total_cmp(&a.error_alone.unwrap_or(f64::MAX)));
        writeln!(out, "\nstepped back: {} of {} layers", back.len(), view.layers.len())?;
        let rows: Vec<Vec<String>> = back
            .iter()
            .take(SHOWN_MAX)
            .map(|layer| {
                vec![shorten(&layer.name, 40), layer.op_type.clone(), layer.level.to_owned(), layer.reason.clone()]
            })
            .collect();
        let header = [("layer", Align::Left), ("op", Align::Left), ("level", Align::Left), ("why", Align::Left)];
        write_table(out, 2, &header, &rows)?;
        if back.len() > SHOWN_MAX {
            writeln!(out, "  … and {} more", back.len() - SHOWN_MAX)?;
        }
    }
    if view.curve.len() > 1 {
        writeln!(out, "\nsize against error")?;
        let rows: Vec<Vec<String>> = view
            .curve
            .iter()
            .map(|point| {
                let holds = if point.agrees { "holds" } else { "" };
                vec![
                    point.n_steps_back.to_string(),
                    point.size_bytes.to_string(),
                    format!("{:.2e}", point.error),
                    holds.to_owned(),
                ]
            })
            .collect();
        let header = [
            ("steps back", Align::Right),
            ("size", Align::Right),
            (view.error_name, Align::Right),
            ("gate", Align::Left),
        ];
        write_table(out, 2, &header, &rows)?;
    }
    if !view.memory.is_empty() {
        writeln!(out, "\narena peak")?;
        for memory in &view.memory {
            let falls = if memory.falls { "" } else { ": does NOT fall" };
            writeln!(
                out,
                "  {}: {} before, {} after, {}{falls}",
                memory.provider, memory.before_peak_bytes, memory.after_peak_bytes, memory.how
            )?;
        }
    }
    if let Some(verify) = &view.verify {
        write_verify(out, verify)?;
    }
    if !view.files.is_empty() {
        writeln!(out, "\nwritten: {}", view.files.join(", "))?;
    }
    write_diagnostics(out, &view.diagnostics)
}
