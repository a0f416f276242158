//! The answer of `onnxfit watch`: contract `onnxfit.watch/1`, one object a reading.

use std::io::{self, Write};

use serde::Serialize;

use crate::Size;

/// One reading of all GPUs.
#[derive(Clone, Debug, Serialize)]
pub struct WatchView {
    /// `onnxfit.watch/1`.
    pub schema: &'static str,
    /// When it was read.
    pub unix_seconds: u64,
    /// The driver's version.
    pub driver: Option<String>,
    /// Why no GPU is shown, where no driver could be asked.
    pub note: Option<String>,
    /// Each GPU.
    pub gpus: Vec<GpuView>,
    /// Sessions of onnxfit on the CPU's arena.
    pub host_sessions: Vec<SessionView>,
}

/// One GPU.
#[derive(Clone, Debug, Serialize)]
pub struct GpuView {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its memory.
    pub total_bytes: Size,
    /// What is taken of it, the driver's own part included.
    pub used_bytes: Size,
    /// What is free.
    pub free_bytes: Size,
    /// How busy it is.
    pub utilization_percent: Option<u32>,
    /// Who holds it, the largest first.
    pub processes: Vec<ProcessView>,
    /// What no process is shown to hold: the driver, and processes that cannot be seen from here.
    pub unattributed_bytes: Size,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessView {
    /// Its number.
    pub pid: u32,
    /// Its command; empty where it cannot be read.
    pub command: String,
    /// What it holds; `null` where the driver does not say (Windows, some containers).
    pub used_bytes: Option<Size>,
    /// What it holds more than at the reading before; `null` at the first.
    pub change_bytes: Option<i64>,
    /// Its sessions, where they are onnxfit's own.
    pub sessions: Vec<SessionView>,
}

/// One session of onnxfit.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    /// The process.
    pub pid: u32,
    /// The model.
    pub model: String,
    /// What the arena has taken; `null` where it cannot be asked.
    pub held_bytes: Option<Size>,
    /// What of it is in use.
    pub used_bytes: Option<Size>,
    /// The most that was ever in use.
    pub peak_used_bytes: Option<Size>,
    /// The arena's limit.
    pub limit_bytes: Option<Size>,
    /// What the last run was predicted to take, where that was told.
    pub predicted_bytes: Option<Size>,
    /// Runs so far.
    pub n_runs: u64,
}

/// Cells of a bar.
const BAR_CELLS: u64 = 30;

/// Writes one reading for a person.
pub fn write_text(out: &mut impl Write, view: &WatchView) -> io::Result<()> {
    if let Some(driver) = &view.driver {
        writeln!(out, "NVIDIA driver {driver}")?;
    }
    if let Some(note) = &view.note {
        writeln!(out, "{note}")?;
    }
    for gpu in &view.gpus {
        let busy = gpu.utilization_percent.map_or_else(String::new, |percent| format!(", {percent} % busy"));
        writeln!(
            out,
            "\nGPU {} {}\n  [{}] {} of {}, {} free{busy}",
            gpu.index,
            gpu.name,
            bar(gpu.used_bytes.0.get(), gpu.total_bytes.0.get()),
            gpu.used_bytes,
            gpu.total_bytes,
            gpu.free_bytes
        )?;
        for process in &gpu.processes {
            let used = process.used_bytes.map_or_else(|| "not told".to_owned(), |used| used.to_string());
            let change = match process.change_bytes {
                Some(change) if change > 0 => format!("  +{}", Size(onnxfit_base::Bytes(change.unsigned_abs()))),
                Some(change) if change < 0 => format!("  -{}", Size(onnxfit_base::Bytes(change.unsigned_abs()))),
                _ => String::new(),
            };
            writeln!(out, "  {:>8}  {used:>11}  {}{change}", process.pid, process.command)?;
            for session in &process.sessions {
                write_session(out, session)?;
            }
        }
        if gpu.processes.is_empty() {
            writeln!(out, "  no process is shown to hold any of it")?;
        }
        if gpu.unattributed_bytes.0 > onnxfit_base::Bytes::ZERO {
            writeln!(
                out,
                "  {:>8}  {:>11}  the driver, and what cannot be seen from here",
                "",
                gpu.unattributed_bytes.to_string()
            )?;
        }
    }
    if !view.host_sessions.is_empty() {
        writeln!(out, "\nhost")?;
        for session in &view.host_sessions {
            writeln!(out, "  {:>8}", session.pid)?;
            write_session(out, session)?;
        }
    }
    Ok(())
}

fn write_session(out: &mut impl Write, session: &SessionView) -> io::Result<()> {
    let limit = session.limit_bytes.map_or_else(String::new, |limit| format!(", limit {limit}"));
    let predicted =
        session.predicted_bytes.map_or_else(String::new, |bytes| format!(", the last predicted to take {bytes}"));
    let arena = match (session.used_bytes, session.held_bytes, session.peak_used_bytes) {
        (Some(used), Some(held), Some(most)) => {
            format!("[{}] {used} used of {held} held, most {most}", bar(used.0.get(), held.0.get()))
        }
        _ => "that cannot be asked".to_owned(),
    };
    let (model, n_runs) = (&session.model, session.n_runs);
    writeln!(out, "            {model} arena {arena}{limit}, {n_runs} runs{predicted}")
}

fn bar(part: u64, whole: u64) -> String {
    let cells = if whole == 0 { 0 } else { (u128::from(part) * u128::from(BAR_CELLS)).div_ceil(u128::from(whole)) };
    let filled = u64::try_from(cells).unwrap_or(BAR_CELLS).min(BAR_CELLS);
    (0..BAR_CELLS).map(|cell| if cell < filled { '#' } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_the_part_and_never_overflows() {
        assert_eq!(bar(0, 100), ".".repeat(30));
        assert_eq!(bar(50, 100), "#".repeat(15) + &".".repeat(15));
        assert_eq!(bar(1, u64::MAX), "#".to_owned() + &".".repeat(29));
        assert_eq!(bar(200, 100), "#".repeat(30));
        assert_eq!(bar(5, 0), ".".repeat(30));
    }
}
