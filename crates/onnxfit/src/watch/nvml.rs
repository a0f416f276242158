//! Readings through NVML, loaded from the driver when it is first needed.

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use onnxfit_base::Bytes;

use super::{GpuReading, Readings};
use crate::Error;

/// The GPUs of this machine.
pub(super) struct NvmlReadings {
    nvml: Nvml,
}

impl NvmlReadings {
    pub(super) fn open() -> Result<Self, Error> {
        match Nvml::init() {
            Ok(nvml) => Ok(Self { nvml }),
            Err(error) => Err(Error::Runtime {
                message: format!("there is no NVIDIA driver that can be asked: {}", words(&error)),
                hint: Some(hint(&error).to_owned()),
            }),
        }
    }
}

impl Readings for NvmlReadings {
    fn driver(&self) -> Option<String> {
        self.nvml.sys_driver_version().ok()
    }

    fn gpus(&self) -> Result<Vec<GpuReading>, Error> {
        let failed = |error: NvmlError| Error::Runtime {
            message: format!("the NVIDIA driver does not answer: {}", words(&error)),
            hint: Some(hint(&error).to_owned()),
        };
        let count = self.nvml.device_count().map_err(failed)?;
        let mut gpus = Vec::new();
        for index in 0..count {
            let device = self.nvml.device_by_index(index).map_err(failed)?;
            let memory = device.memory_info().map_err(failed)?;
            let mut processes = Vec::new();
            // What a driver does not tell is left out: a view with less is better than none.
            for process in [device.running_compute_processes(), device.running_graphics_processes()]
                .into_iter()
                .flatten()
                .flatten()
            {
                let used = match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(Bytes(bytes)),
                    UsedGpuMemory::Unavailable => None,
                };
                processes.push((process.pid, used));
            }
            gpus.push(GpuReading {
                index,
                name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
                total: Bytes(memory.total),
                used: Bytes(memory.used),
                free: Bytes(memory.free),
                utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
                processes,
            });
        }
        Ok(gpus)
    }

    fn command(&self, pid: u32) -> String {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let line = words.join(" ");
        // A name from elsewhere may hold anything: no control characters reach the terminal.
        let line: String = line.chars().filter(|letter| !letter.is_control()).take(80).collect();
        if line.is_empty() { self.nvml.sys_process_name(pid, 80).unwrap_or_default() } else { line }
    }
}

/// The error without the wrapper's own words.
fn words(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

fn hint(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "run it on the machine with the GPU; in a container start that with `--gpus all`, whose toolkit brings \
             libnvidia-ml.so.1 along"
        }
        NvmlError::DriverNotLoaded => "the driver is installed and not loaded: `sudo modprobe nvidia`, or start again",
        NvmlError::NoPermission => "this user may not ask the driver",
        _ => "see whether `nvidia-smi` works",
    }
}
