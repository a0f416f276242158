//! Which onnxruntime-gpu wheel runs on which GPU.
//!
//! The table says what kernels each scanned wheel carries; CUDA's own rules of compatibility say
//! the rest. Machine code runs on its own generation from its own step upwards; PTX is compiled
//! for every later GPU when the wheel is loaded; both only on the very step when the architecture
//! carries the suffix `a`.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::{ComputeCapability, CpuArch, table};

/// The first generation (Blackwell) that cuBLAS and cuDNN of CUDA 11 do not know.
const CUDA_12_ONLY_MAJOR: u8 = 10;

/// One wheel on PyPI.
#[derive(Clone, Debug)]
pub struct OrtGpuRelease {
    /// The release.
    pub version: OrtVersion,
    /// What it is built for.
    pub platform: Platform,
    /// The CUDA it is built with, as `13.0`, or only `12` where the minor is unknown.
    pub cuda: String,
    /// The cuDNN it needs.
    pub cudnn_major: u32,
    /// Whether it starts without cuDNN (since 1.28).
    pub is_cudnn_optional: bool,
    /// The Python versions it is built for.
    pub python_versions: String,
    /// The day it was built.
    pub release_date: String,
    machine_code: Vec<KernelArch>,
    ptx: Vec<KernelArch>,
    /// Whether only a part of the kernels comes as PTX.
    is_ptx_partial: bool,
}

/// A release number of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrtVersion(pub u32, pub u32, pub u32);

impl fmt::Display for OrtVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for OrtVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[major, minor, patch]) => Ok(Self(major, minor, patch)),
            _ => Err(format!("`{text}` is no release number; write for example `1.31.1`")),
        }
    }
}

/// What a wheel is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Linux on Intel and AMD.
    LinuxX86_64,
    /// Linux on Arm.
    LinuxAarch64,
    /// Windows on Intel and AMD.
    WindowsX86_64,
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "linux_x86_64" => Ok(Self::LinuxX86_64),
            "linux_aarch64" => Ok(Self::LinuxAarch64),
            "win_amd64" => Ok(Self::WindowsX86_64),
            _ => Err(format!("`{text}` is no platform")),
        }
    }
}

/// How a wheel's kernels run on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// As they are.
    Native,
    /// Compiled by the driver at the first load, which takes long.
    JustInTime,
}

/// `sm_90a` or `compute_90`.
#[derive(Clone, Copy, Debug)]
struct KernelArch {
    capability: ComputeCapability,
    is_exact: bool,
}

impl KernelArch {
    fn list(text: &str) -> Vec<Self> {
        let read = |word: &str| Self::read(word).expect("every architecture in the table is readable");
        text.split_whitespace().map(read).collect()
    }

    fn read(word: &str) -> Option<Self> {
        let (_, number) = word.split_once('_')?;
        let digits = number.trim_end_matches('a');
        let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
        let capability = ComputeCapability::new(major.parse().ok()?, minor.parse().ok()?);
        Some(Self { capability, is_exact: digits != number })
    }
}

impl OrtGpuRelease {
    /// How its kernels run on a GPU; `None` if they do not.
    pub fn execution_on(&self, gpu: ComputeCapability) -> Option<Execution> {
        let runs_machine_code = |arch: &KernelArch| {
            arch.capability == gpu
                || (!arch.is_exact && arch.capability.major == gpu.major && arch.capability.minor <= gpu.minor)
        };
        let compiles = |arch: &KernelArch| arch.capability == gpu || (!arch.is_exact && arch.capability <= gpu);
        if self.machine_code.iter().any(runs_machine_code) {
            return Some(Execution::Native);
        }
        let has_libraries = gpu.major < CUDA_12_ONLY_MAJOR || self.cuda_major() >= 12;
        let is_compiled = has_libraries && !self.is_ptx_partial && self.ptx.iter().any(compiles);
        is_compiled.then_some(Execution::JustInTime)
    }

    /// The CUDA generation it needs.
    pub fn cuda_major(&self) -> u32 {
        let major = self.cuda.split('.').next().unwrap_or_default();
        major.parse().expect("every CUDA version in the table starts with a number")
    }

    /// The pip command that installs it with the CUDA libraries it needs, as far as pip has them.
    pub fn install_command(&self, gpu: ComputeCapability) -> String {
        // The wheels name their CUDA libraries as extras since 1.21.
        let extras = if self.version >= OrtVersion(1, 21, 0) { "[cuda,cudnn]" } else { "" };
        let install = format!("pip install \"onnxruntime-gpu{extras}=={}\"", self.version);
        // cuDNN 9.11 dropped everything before Turing.
        if gpu < ComputeCapability::new(7, 5) && self.cudnn_major == 9 {
            return format!("{install} \"nvidia-cudnn-cu{}<9.11\"", self.cuda_major());
        }
        install
    }
}

/// What there is for one GPU on one kind of processor, under Linux.
#[derive(Clone, Debug)]
pub struct OrtSupport {
    /// Every scanned release that runs, oldest first.
    pub releases: Vec<(&'static OrtGpuRelease, Execution)>,
    /// The newest scanned release of any platform.
    pub current: OrtVersion,
}

impl OrtSupport {
    /// The newest scanned release that runs.
    pub fn newest(&self) -> Option<(&'static OrtGpuRelease, Execution)> {
        self.releases.last().copied()
    }

    /// Whether the newest release of all runs as it is.
    pub fn is_current(&self) -> bool {
        self.newest().is_some_and(|(release, how)| release.version == self.current && how == Execution::Native)
    }
}

/// Every wheel that was scanned, oldest first, platform by platform.
pub fn ort_gpu_releases() -> &'static [OrtGpuRelease] {
    static RELEASES: LazyLock<Vec<OrtGpuRelease>> = LazyLock::new(|| {
        let mut releases: Vec<_> = table::rows(include_str!("../data/ort-gpu-releases.csv"))
            .map(|row| OrtGpuRelease {
                version: row.get("version"),
                platform: row.get("platform"),
                cuda: row.text("cuda"),
                cudnn_major: row.get("cudnn_major"),
                is_cudnn_optional: row.flag("cudnn_optional"),
                python_versions: row.text("python_versions"),
                release_date: row.text("release_date"),
                machine_code: KernelArch::list(&row.text("sass")),
                ptx: KernelArch::list(&row.text("ptx")),
                is_ptx_partial: row.flag("ptx_partial"),
            })
            .collect();
        releases.sort_by_key(|release| release.version);
        releases
    });
    &RELEASES
}

/// Which scanned releases run on a GPU, beside that processor, under Linux.
pub fn ort_support(gpu: ComputeCapability, cpu: CpuArch) -> OrtSupport {
    let all = ort_gpu_releases();
    let runs = |release: &'static OrtGpuRelease| Some((release, release.execution_on(gpu)?));
    let releases = all.iter().filter(|release| release.platform == cpu.linux()).filter_map(runs).collect();
    OrtSupport { releases, current: all.last().expect("the table of releases has rows").version }
}
