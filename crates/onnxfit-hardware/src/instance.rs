//! The accelerated EC2 instance types.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use onnxfit_base::Bytes;

use crate::{Accelerator, Gpu, MemoryBasis, Platform, accelerators, gpus, table};

/// One EC2 instance type.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The type, such as `g4dn.xlarge`.
    pub name: String,
    /// What it has one or several of.
    pub device: Device,
    /// How many of them; a vGPU share counts as one.
    pub device_count: u32,
    /// 1, or the part of the GPU that a vGPU share is: 0.125 for `g6f.large`.
    pub device_share: f64,
    /// The `nvidia-smi` total, where it differs from the GPU's usual one.
    pub nvidia_smi_override: Option<Bytes>,
    /// The processor.
    pub cpu_arch: CpuArch,
    /// Virtual processors.
    pub vcpus: u32,
    /// The host's memory.
    pub host_memory: Bytes,
    /// What SageMaker rents it out for, such as `endpoint training`; empty if it does not.
    pub sagemaker_scopes: String,
    /// Whether it can be had.
    pub availability: Availability,
}

/// What accelerates an instance.
#[derive(Clone, Copy, Debug)]
pub enum Device {
    /// An NVIDIA GPU.
    Gpu(&'static Gpu),
    /// Something without CUDA.
    Other(&'static Accelerator),
}

impl Device {
    /// The short name.
    pub fn key(self) -> &'static str {
        match self {
            Self::Gpu(gpu) => &gpu.key,
            Self::Other(other) => &other.key,
        }
    }
}

/// Whether an instance type can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// On demand, where the region has it.
    OnDemand,
    /// Through Capacity Blocks or UltraServers only; no price by the hour is known.
    Reserved,
    /// An old generation that is in the price list; nobody confirmed that it can be launched.
    Unconfirmed,
    /// Still in the price list, but EC2 no longer describes it.
    Retired,
}

impl FromStr for Availability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on-demand" => Ok(Self::OnDemand),
            "reserved" => Ok(Self::Reserved),
            "unconfirmed" => Ok(Self::Unconfirmed),
            "retired" => Ok(Self::Retired),
            _ => Err(format!("`{text}` is no availability")),
        }
    }
}

/// A processor's instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuArch {
    /// Intel and AMD.
    X86_64,
    /// Graviton and Grace.
    Arm64,
}

impl CpuArch {
    /// The word that EC2 uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The platform of the wheels that run there under Linux.
    pub const fn linux(self) -> Platform {
        match self {
            Self::X86_64 => Platform::LinuxX86_64,
            Self::Arm64 => Platform::LinuxAarch64,
        }
    }
}

impl fmt::Display for CpuArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CpuArch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "x86_64" => Ok(Self::X86_64),
            "arm64" => Ok(Self::Arm64),
            _ => Err(format!("`{text}` is no processor architecture")),
        }
    }
}

impl Instance {
    /// The part before the dot: `g4dn`.
    pub fn family(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Its NVIDIA GPU, if it has one.
    pub fn gpu(&self) -> Option<&'static Gpu> {
        match self.device {
            Device::Gpu(gpu) => Some(gpu),
            Device::Other(_) => None,
        }
    }

    /// What CUDA offers one session: one GPU's memory, however many there are.
    pub fn session_memory(&self) -> Option<(Bytes, MemoryBasis)> {
        let gpu = self.gpu()?;
        Some(self.nvidia_smi_override.map_or_else(|| gpu.cuda_total(), Gpu::cuda_total_at))
    }

    /// The name on SageMaker, where it is rented out for anything.
    pub fn sagemaker_name(&self) -> Option<String> {
        (!self.sagemaker_scopes.is_empty()).then(|| format!("ml.{}", self.name))
    }
}

/// Every accelerated EC2 instance type.
pub fn instances() -> &'static [Instance] {
    static INSTANCES: LazyLock<Vec<Instance>> = LazyLock::new(|| {
        table::rows(include_str!("../data/instances.csv"))
            .map(|row| Instance {
                name: row.text("name"),
                device: device(&row.text("device")),
                device_count: row.get("device_count"),
                device_share: row.get("device_share"),
                nvidia_smi_override: row.maybe_mib("nvidia_smi_mib"),
                cpu_arch: row.get("cpu_arch"),
                vcpus: row.get("vcpus"),
                // Halves of a gibibyte occur (g3s.xlarge has 30.5).
                host_memory: Bytes::mib((row.get::<f64>("memory_gib") * 1024.0) as u64),
                sagemaker_scopes: row.text("sagemaker_scopes"),
                availability: row.get("availability"),
            })
            .collect()
    });
    &INSTANCES
}

/// The instance type of that exact name.
pub fn instance(name: &str) -> Option<&'static Instance> {
    instances().iter().find(|instance| instance.name == name)
}

fn device(key: &str) -> Device {
    let gpu = gpus().iter().find(|gpu| gpu.key == key).map(Device::Gpu);
    let other = || accelerators().iter().find(|other| other.key == key).map(Device::Other);
    gpu.or_else(other).expect("every instance's device is in one of the two tables")
}
