//! One session in a worker process: counters, peaks, log, profile, process memory, time.

use std::path::Path;
use std::process::Command;

use onnxfit_base::Bytes;
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{ArenaStats, Meter, RunError, SessionSpec, Tensors, Trace};

use super::copy::Folder;
use super::profile::{self, ProfiledNode};
use crate::Error;
use crate::request::{Provider, Request};
use crate::session_spec::session_spec;
use crate::verify::runtime_error;

/// What is run.
pub(super) struct Session<'a> {
    pub(super) worker: &'a Path,
    pub(super) library: &'a Path,
    pub(super) model: &'a Path,
    pub(super) request: &'a Request,
    pub(super) n_runs: usize,
}

/// The counters of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunReading {
    /// While the outputs are held.
    pub(super) with_outputs: ArenaStats,
    /// After their release.
    pub(super) released: ArenaStats,
    /// Of this run alone with [`Meter::ArenaEachRun`], else the highest so far.
    pub(super) peak: Bytes,
}

/// What one session told.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) version: String,
    pub(super) load: Option<ArenaStats>,
    pub(super) runs: Vec<RunReading>,
    /// Of load and of each run.
    pub(super) traces: Vec<Trace>,
    pub(super) extensions: Vec<Bytes>,
    /// By run.
    pub(super) nodes: Vec<Vec<ProfiledNode>>,
    pub(super) loaded_resident: Bytes,
    pub(super) end_resident: Bytes,
    pub(super) peak_resident: Bytes,
    /// GPU memory in use by all processes, less what it was before.
    pub(super) device: Option<Bytes>,
    pub(super) load_seconds: f64,
    pub(super) run_seconds: Vec<f64>,
    /// Out of memory; every other failure is an error.
    pub(super) failure: Option<RunError>,
}

/// Loads and runs. A refusal for want of memory ends the reading, and is told in it.
pub(super) fn read(session: &Session<'_>, meter: Meter, profile: bool, inputs: &Tensors) -> Result<Reading, Error> {
    let folder = Folder::new()?;
    let spec = SessionSpec {
        meter,
        capture_arena_log: profile,
        profile_prefix: profile.then(|| folder.path.join("profile")),
        ..session_spec(session.model, session.request)
    };
    let on_cuda = session.request.provider == Provider::Cuda;
    let device_before = if on_cuda { device_in_use() } else { None };
    let mut reading = Reading::default();
    let mut client = Client::spawn(session.worker, &["__worker"]).map_err(runtime_error)?;
    match client.open(session.library, &spec) {
        Ok(opened) => {
            reading.version = opened.version;
            reading.load = opened.arena;
            reading.load_seconds = opened.seconds;
            reading.traces.extend(opened.trace);
        }
        Err(error) => return refused(reading, error),
    }
    reading.loaded_resident = resident(client.id(), "VmRSS:");
    for _ in 0..session.n_runs {
        let measured = match client.measure(inputs) {
            Ok(ran) => ran.measured,
            Err(error) => {
                reading = refused(reading, error)?;
                break;
            }
        };
        reading.run_seconds.push(measured.seconds);
        if let (Some(with_outputs), Some(released)) = (measured.arena_with_outputs, measured.arena) {
            let own = measured.trace.as_ref().filter(|_| meter == Meter::ArenaEachRun);
            let peak = own.map_or(with_outputs.max_in_use, |trace| trace.peak_in_use);
            reading.runs.push(RunReading { with_outputs, released, peak });
        }
        reading.traces.extend(measured.trace);
    }
    reading.end_resident = resident(client.id(), "VmRSS:");
    reading.peak_resident = resident(client.id(), "VmHWM:");
    if on_cuda {
        reading.device = device_before.zip(device_in_use()).map(|(before, after)| after.saturating_sub(before));
    }
    if profile {
        let log = client.take_arena_log().map_err(runtime_error)?;
        reading.extensions = extensions(&log, if on_cuda { "Cuda" } else { "Cpu" });
        let path = client.end_profiling().map_err(runtime_error)?;
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        reading.nodes = profile::read(&text);
    }
    Ok(reading)
}

fn refused(mut reading: Reading, error: RunError) -> Result<Reading, Error> {
    if !matches!(error, RunError::OutOfMemory(_)) {
        return Err(runtime_error(error));
    }
    reading.failure = Some(error);
    Ok(reading)
}

/// The regions that an arena took, from its log (`BFCArena::Extend`, bfc_arena.cc, ORT 1.31): a line
/// that names the arena, then one with the bytes.
fn extensions(log: &[String], arena: &str) -> Vec<Bytes> {
    let mut extensions = Vec::new();
    let mut ours = false;
    for line in log {
        if let Some((_, rest)) = line.split_once("Extending BFCArena for ") {
            ours = rest.split([' ', '.']).next() == Some(arena);
        } else if let Some((_, rest)) = line.split_once("Extended allocation by ") {
            let bytes = rest.split(' ').next().and_then(|number| number.parse().ok());
            extensions.extend(bytes.filter(|_| ours).map(Bytes));
        }
    }
    extensions
}

/// A line of `/proc/PID/status`; zero where the system has none.
fn resident(process: u32, key: &str) -> Bytes {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    Bytes(kib.unwrap_or(0).saturating_mul(1024))
}

/// GPU memory in use on the first card, as the driver's own tool tells.
fn device_in_use() -> Option<Bytes> {
    let arguments = ["--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(arguments).output().ok().filter(|output| output.status.success())?;
    let mebibytes: u64 = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().parse().ok()?;
    Some(Bytes::mib(mebibytes))
}

#[cfg(test)]
mod tests;
