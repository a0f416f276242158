//! `onnxfit measure --sweep`: one dimension over many sizes, memory against speed.

use std::io::{self, Write};

use serde::Serialize;

use crate::Size;
use crate::table::{Align, write_table};

/// A batch pays as long as it brings more than this share of the best throughput.
const WORTH_SHARE: f64 = 0.05;

/// One size of the dimension.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    /// The size.
    pub size: i64,
    /// The most that the process's arena holds, predicted.
    pub predicted_held_bytes: Size,
    /// The same, measured; `None` if it was not run.
    pub measured_held_bytes: Option<Size>,
    /// The most in use, predicted.
    pub predicted_peak_bytes: Size,
    /// The same, measured.
    pub measured_peak_bytes: Option<Size>,
    /// Median of the runs after the first.
    pub latency_seconds: Option<f64>,
    /// Rows a second.
    pub throughput: Option<f64>,
    /// Why it did not run.
    pub refused: Option<String>,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepView {
    /// `onnxfit.sweep/1`.
    pub schema: &'static str,
    /// The model file.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// ONNX Runtime's release.
    pub ort_version: String,
    /// The dimension.
    pub dim: String,
    /// What the steps may hold; `None` is no limit.
    pub budget_bytes: Option<Size>,
    /// By size.
    pub steps: Vec<StepView>,
    /// The largest size that ran.
    pub largest: Option<i64>,
    /// The smallest size whose throughput is within 5 % of the best.
    pub knee: Option<i64>,
}

/// The smallest size whose throughput is within 5 % of the best seen.
pub fn knee(steps: &[StepView]) -> Option<i64> {
    let best = steps.iter().filter_map(|step| step.throughput).max_by(f64::total_cmp)?;
    let enough = |step: &&StepView| step.throughput.is_some_and(|throughput| throughput >= best * (1.0 - WORTH_SHARE));
    steps.iter().filter(enough).map(|step| step.size).min()
}

/// Writes the answer for a person.
pub fn write_sweep(out: &mut impl Write, view: &SweepView) -> io::Result<()> {
    let budget = view.budget_bytes.map_or_else(|| "no limit".to_owned(), |budget| format!("within {budget}"));
    writeln!(out, "{} over {}, {budget}", view.model, view.dim)?;
    writeln!(out, "ONNX Runtime {}, {} provider\n", view.ort_version, view.provider)?;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = view
        .steps
        .iter()
        .map(|step| {
            vec![
                step.size.to_string(),
                or_dash(step.throughput.map(|throughput| format!("{throughput:.2}"))),
                or_dash(step.latency_seconds.map(|seconds| format!("{:.1}", seconds * 1e3))),
                step.predicted_peak_bytes.to_string(),
                or_dash(step.measured_peak_bytes.map(|size| size.to_string())),
                step.predicted_held_bytes.to_string(),
                or_dash(step.measured_held_bytes.map(|size| size.to_string())),
                verdict(step, view.knee),
            ]
        })
        .collect();
    let header = [
        (view.dim.as_str(), Align::Right),
        ("rows/s", Align::Right),
        ("ms", Align::Right),
        ("peak", Align::Right),
        ("measured", Align::Right),
        ("held", Align::Right),
        ("measured", Align::Right),
        ("", Align::Left),
    ];
    write_table(out, 0, &header, &rows)?;
    writeln!(out)?;
    match view.largest {
        Some(largest) => writeln!(out, "largest that ran: {}={largest}", view.dim)?,
        None => writeln!(out, "none of the sizes ran")?,
    }
    if let Some(knee) = view.knee {
        writeln!(out, "knee: {}={knee}; more brings less than 5 % more rows a second", view.dim)?;
    }
    Ok(())
}

fn verdict(step: &StepView, knee: Option<i64>) -> String {
    if let Some(refused) = &step.refused {
        return refused.clone();
    }
    let equal = step.measured_peak_bytes == Some(step.predicted_peak_bytes)
        && step.measured_held_bytes == Some(step.predicted_held_bytes);
    let mut words = Vec::new();
    if equal {
        words.push("equal to the byte");
    }
    if knee == Some(step.size) {
        words.push("knee");
    }
    words.join(", ")
}
