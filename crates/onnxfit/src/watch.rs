//! `watch`: who holds the memory of the GPUs, read again and again.
//!
//! NVML says what each process holds; what its arena uses of that, onnxfit's own processes say in
//! their live files. Readings come through a trait, so that tests need no GPU.

mod nvml;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use onnxfit_base::Bytes;
use onnxfit_report::watch::{GpuView, ProcessView, SessionView, WatchView};
use onnxfit_runtime::live::{self, LiveSession};

use crate::Error;

/// What a driver says about one GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuReading {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its memory.
    pub total: Bytes,
    /// What is taken of it.
    pub used: Bytes,
    /// What is free.
    pub free: Bytes,
    /// How busy it is.
    pub utilization_percent: Option<u32>,
    /// What each process holds; a process may be named twice.
    pub processes: Vec<(u32, Option<Bytes>)>,
}

/// Where readings come from.
pub trait Readings {
    /// The driver's version.
    fn driver(&self) -> Option<String>;
    /// Every GPU, now.
    fn gpus(&self) -> Result<Vec<GpuReading>, Error>;
    /// The command of a process; empty where it cannot be read.
    fn command(&self, pid: u32) -> String;
}

/// Watches the GPUs of this machine.
pub struct Watch {
    readings: Box<dyn Readings>,
    only: Option<u32>,
    /// What each process held on each GPU at the reading before; `None` before the first.
    before: Option<BTreeMap<(u32, u32), Bytes>>,
    /// Why no driver could be asked, until that was said.
    trouble: Option<Error>,
    note: Option<String>,
}

/// A machine whose GPUs nobody can ask for.
struct HostOnly;

impl Readings for HostOnly {
    fn driver(&self) -> Option<String> {
        None
    }

    fn gpus(&self) -> Result<Vec<GpuReading>, Error> {
        Ok(Vec::new())
    }

    fn command(&self, _: u32) -> String {
        String::new()
    }
}

impl Watch {
    /// Opens NVML, which comes with NVIDIA's driver. Without one only sessions on the host can be
    /// watched, and if there are none either, the first reading says so.
    ///
    /// # Errors
    ///
    /// Where a GPU was asked for and there is no driver, or it cannot be asked.
    pub fn open(only: Option<u32>) -> Result<Self, Error> {
        match nvml::NvmlReadings::open() {
            Ok(readings) => Ok(Self::over(Box::new(readings), only)),
            Err(error) if only.is_some() => Err(error),
            Err(error) => Ok(Self { trouble: Some(error), ..Self::over(Box::new(HostOnly), None) }),
        }
    }

    /// Watches through other readings.
    pub fn over(readings: Box<dyn Readings>, only: Option<u32>) -> Self {
        Self { readings, only, before: None, trouble: None, note: None }
    }

    /// One reading.
    ///
    /// # Errors
    ///
    /// Where the driver does not answer, or there is none and no session on the host either.
    pub fn read(&mut self) -> Result<WatchView, Error> {
        let sessions = live::folder().map(|folder| live::read(&folder, live::is_alive)).unwrap_or_default();
        if let Some(trouble) = self.trouble.take() {
            if sessions.is_empty() {
                return Err(trouble);
            }
            self.note = Some(format!("{trouble}; only sessions on the host are shown"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.view(now, &sessions)
    }

    fn view(&mut self, unix_seconds: u64, sessions: &[LiveSession]) -> Result<WatchView, Error> {
        let all = self.readings.gpus()?;
        let n_gpus = all.len();
        let wanted: Vec<GpuReading> =
            all.into_iter().filter(|gpu| self.only.is_none_or(|only| gpu.index == only)).collect();
        if let (Some(only), true) = (self.only, wanted.is_empty()) {
            let hint = format!("there are {n_gpus}, counted from 0");
            return Err(Error::Binding(format!("there is no GPU {only} here"), Some(hint)));
        }
        let mut held = BTreeMap::new();
        let gpus = wanted.iter().map(|gpu| self.gpu_view(gpu, sessions, &mut held)).collect();
        self.before = Some(held);
        Ok(WatchView {
            schema: "onnxfit.watch/1",
            unix_seconds,
            driver: self.readings.driver(),
            note: self.note.clone(),
            gpus,
            host_sessions: sessions.iter().filter(|session| session.device_index.is_none()).map(session_view).collect(),
        })
    }

    fn gpu_view(&self, gpu: &GpuReading, sessions: &[LiveSession], held: &mut BTreeMap<(u32, u32), Bytes>) -> GpuView {
        // A process that computes and draws is listed for both, each time with all it holds.
        let mut by_pid: BTreeMap<u32, Option<Bytes>> = BTreeMap::new();
        for (pid, used) in &gpu.processes {
            let most = by_pid.entry(*pid).or_default();
            *most = (*most).max(*used);
        }
        let mut processes: Vec<ProcessView> = by_pid
            .into_iter()
            .map(|(pid, used)| {
                if let Some(used) = used {
                    held.insert((gpu.index, pid), used);
                }
                let before =
                    self.before.as_ref().map(|before| before.get(&(gpu.index, pid)).copied().unwrap_or_default());
                let change = |(now, before): (Bytes, Bytes)| {
                    i64::try_from(i128::from(now.get()) - i128::from(before.get())).ok()
                };
                ProcessView {
                    pid,
                    command: self.readings.command(pid),
                    used_bytes: used.map(Into::into),
                    change_bytes: used.zip(before).and_then(change),
                    sessions: sessions
                        .iter()
                        .filter(|session| session.pid == pid && session.device_index == Some(gpu.index))
                        .map(session_view)
                        .collect(),
                }
            })
            .collect();
        processes.sort_by_key(|process| std::cmp::Reverse(process.used_bytes.map(|used| used.0)));
        let attributed =
            processes.iter().filter_map(|process| process.used_bytes).fold(Bytes::ZERO, |sum, used| sum + used.0);
        GpuView {
            index: gpu.index,
            name: gpu.name.clone(),
            total_bytes: gpu.total.into(),
            used_bytes: gpu.used.into(),
            free_bytes: gpu.free.into(),
            utilization_percent: gpu.utilization_percent,
            processes,
            unattributed_bytes: gpu.used.saturating_sub(attributed).into(),
        }
    }
}

fn session_view(session: &LiveSession) -> SessionView {
    let size = |bytes: Option<u64>| bytes.map(|bytes| Bytes(bytes).into());
    SessionView {
        pid: session.pid,
        model: session.model.clone(),
        held_bytes: size(session.held_bytes),
        used_bytes: size(session.used_bytes),
        peak_used_bytes: size(session.peak_used_bytes),
        limit_bytes: size(session.limit_bytes),
        predicted_bytes: size(session.predicted_bytes),
        n_runs: session.n_runs,
    }
}

#[cfg(test)]
mod tests;
