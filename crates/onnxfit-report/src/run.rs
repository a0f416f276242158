//! The answer of `onnxfit run`: contract `onnxfit.run/1`.

use std::io::{self, Write};

use serde::Serialize;

use crate::check::write_diagnostics;
use crate::{DiagnosticView, Size};

/// An output that was written.
#[derive(Clone, Debug, Serialize)]
pub struct OutputView {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element_type: String,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// What the guard did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct GuardView {
    /// Runs of ONNX Runtime that gave an answer.
    pub n_runs: u64,
    /// Runs that ended because memory ran out, and were done again in smaller pieces.
    pub n_out_of_memory: u64,
    /// Times the arena gave back what it did not use.
    pub n_shrinks: u64,
    /// Times more was tried than was believed to be there.
    pub n_probes: u64,
    /// What the arena may take; `null` for no limit.
    pub limit_bytes: Option<Size>,
    /// What the session holds between runs.
    pub held_bytes: Option<Size>,
    /// The most that was in use at once.
    pub peak_bytes: Option<Size>,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    /// `onnxfit.run/1`.
    pub schema: &'static str,
    /// The model file.
    pub model: String,
    /// Rows answered; `null` where the model knows no rows.
    pub n_rows: Option<u64>,
    /// Rows that an earlier, interrupted run had answered already.
    pub n_rows_resumed: u64,
    /// The dimension that rows lie along; `null` if requests may not be cut.
    pub batch_dim: Option<String>,
    /// What the guard did.
    pub guard: GuardView,
    /// Seconds in runs.
    pub seconds: f64,
    /// The file with the outputs.
    pub output: String,
    /// The outputs.
    pub outputs: Vec<OutputView>,
    /// What else is to be said.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a reader.
pub fn write_text(out: &mut impl Write, view: &RunView) -> io::Result<()> {
    let rows = view.n_rows.map_or_else(|| "the request".to_owned(), |rows| format!("{rows} rows"));
    let runs = if view.guard.n_runs == 1 { "1 run".to_owned() } else { format!("{} runs", view.guard.n_runs) };
    writeln!(out, "{rows} in {runs}, {:.2} s, written to {}", view.seconds, view.output)?;
    if view.n_rows_resumed > 0 {
        writeln!(out, "{} of them were there from an interrupted run", view.n_rows_resumed)?;
    }
    if view.guard.n_out_of_memory > 0 {
        let times = if view.guard.n_out_of_memory == 1 { "once" } else { "several times" };
        let n = view.guard.n_out_of_memory;
        writeln!(out, "memory ran out {times} ({n}); what was lost was run again in smaller pieces")?;
    }
    let peak = view.guard.peak_bytes.map(|peak| format!("at most {peak} in use at once"));
    let limit = view.guard.limit_bytes.map(|limit| format!("limit {limit}"));
    let parts: Vec<String> = peak.into_iter().chain(limit).collect();
    if !parts.is_empty() {
        writeln!(out, "arena: {}", parts.join(", "))?;
    }
    for output in &view.outputs {
        writeln!(out, "  {} {} {:?}", output.name, output.element_type, output.shape)?;
    }
    write_diagnostics(out, &view.diagnostics)
}
