//! The answer of `onnxfit deploy`: contract `onnxfit.deploy/1`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::check::{BandView, TargetView, write_diagnostics};
use crate::fix::FixView;
use crate::{DiagnosticView, Size};

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct DeployView {
    /// `onnxfit.deploy/1`.
    pub schema: &'static str,
    /// Whether so many sessions fit the target, with at least one row each.
    pub fits: bool,
    /// The model file.
    pub model: String,
    /// The name it is served under.
    pub name: String,
    /// Where.
    pub target: TargetView,
    /// The dimensions it was sized for.
    pub dims: BTreeMap<String, i64>,
    /// The dimension that rows lie along; `null` if requests may not be put together.
    pub batch_dim: Option<String>,
    /// Rows that were looked for.
    pub rows_wanted: Option<u64>,
    /// The most rows of one run that fit.
    pub rows_max: Option<u64>,
    /// Whether the server may put requests together by itself.
    pub server_batches: bool,
    /// Sessions side by side on each device.
    pub n_instances: u64,
    /// Settings that differ from ONNX Runtime's defaults.
    pub changes: Vec<String>,
    /// What the arena of one session may take; `null` where nothing bounds it.
    pub arena_limit_bytes: Option<Size>,
    /// What one session takes, context included.
    pub instance_bytes: Option<BandView>,
    /// Sessions of one process that would fit a device, with that many rows.
    pub sessions_max: u64,
    /// Processes with a session each that would fit a device, with that many rows.
    pub processes_max: u64,
    /// What the server takes of the host's memory.
    pub host_bytes: Size,
    /// Why the search for settings and rows ended.
    pub stop_reason: String,
    /// What `fix` could do on the whole device; `null` where it fits.
    pub fix: Option<FixView>,
    /// Files that were written.
    pub files: Vec<String>,
    /// Commands that take them on.
    pub next: Vec<String>,
    /// What else is to be said.
    pub diagnostics: Vec<DiagnosticView>,
}

/// Writes the answer for a reader.
pub fn write_text(out: &mut impl Write, view: &DeployView) -> io::Result<()> {
    let dims: Vec<String> = view.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let sessions =
        if view.n_instances == 1 { "1 session".to_owned() } else { format!("{} sessions", view.n_instances) };
    if !view.fits {
        let verb = if view.n_instances == 1 { "does" } else { "do" };
        writeln!(out, "{sessions} of {} {verb} not fit {}: {}", view.name, view.target.name, view.stop_reason)?;
        if let Some(fix) = &view.fix {
            writeln!(out, "\nwhat `onnxfit fix` finds for one session on the whole device\n")?;
            crate::fix::write_text(out, fix)?;
        }
        return write_diagnostics(out, &view.diagnostics);
    }
    writeln!(out, "{} on {}: {sessions}, {} provider", view.name, view.target.name, view.target.provider)?;
    match (view.rows_max, view.rows_wanted) {
        (Some(rows), Some(wanted)) if rows < wanted => {
            writeln!(out, "at most {rows} rows in one run ({wanted} do not fit)")?;
        }
        (Some(rows), _) => writeln!(out, "at most {rows} rows in one run")?,
        _ => {}
    }
    writeln!(out, "sized for {}", dims.join(" "))?;
    if let Some(bytes) = &view.instance_bytes {
        let budget = view.target.budget_bytes.map_or_else(String::new, |budget| format!(" of {budget}"));
        if bytes.low == bytes.high {
            writeln!(out, "one session takes {}{budget}", bytes.expected)?;
        } else {
            writeln!(out, "one session takes {} ({} to {}){budget}", bytes.expected, bytes.low, bytes.high)?;
        }
    }
    let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    if view.sessions_max > view.n_instances {
        let (sessions, processes) = (plural(view.sessions_max, "session"), plural(view.processes_max, "process"));
        let processes = processes.replace("processs", "processes");
        writeln!(out, "{sessions} in one process would fit, or {processes} with one each")?;
    }
    writeln!(out, "host memory {}", view.host_bytes)?;
    for change in &view.changes {
        writeln!(out, "set {change}")?;
    }
    if let Some(limit) = view.arena_limit_bytes {
        writeln!(out, "the arena of each may take {limit}")?;
    }
    if !view.files.is_empty() {
        writeln!(out, "\nwritten")?;
        for file in &view.files {
            writeln!(out, "  {file}")?;
        }
        writeln!(out, "\nnext")?;
        for command in &view.next {
            writeln!(out, "  {command}")?;
        }
    }
    write_diagnostics(out, &view.diagnostics)
}
