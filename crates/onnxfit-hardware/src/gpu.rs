//! The NVIDIA GPUs that AWS rents out, and how much memory CUDA really offers on each.

use std::sync::LazyLock;

use onnxfit_base::Bytes;

use crate::{ComputeCapability, table};

/// What the driver keeps of the `nvidia-smi` total where nobody has published what CUDA reports.
/// It keeps 215 to 870 MiB on the GPUs where both are known.
const DRIVER_RESERVE: Bytes = Bytes::mib(512);

/// What is taken from an advertised size where not even the `nvidia-smi` total is known: a T4's
/// total is 1024 MiB below what is advertised.
const ADVERTISED_RESERVE: Bytes = Bytes::mib(1024);

/// One kind of NVIDIA GPU, or a vGPU share of one.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// The short name, such as `T4` or `A100-40`.
    pub key: String,
    /// What NVIDIA calls it.
    pub model: String,
    /// The generation, such as `Turing`.
    pub arch: String,
    /// The instruction set.
    pub compute_capability: ComputeCapability,
    /// The advertised memory.
    pub advertised: Bytes,
    /// What the EC2 API says, which for some GPUs is in decimal gigabytes.
    pub ec2_api_total: Option<Bytes>,
    /// The total that `nvidia-smi` shows.
    pub nvidia_smi_total: Option<Bytes>,
    /// The total that CUDA reports to a program (`cudaMemGetInfo`), where somebody published it.
    pub cuda_reported: Option<Bytes>,
    /// Where the memory numbers come from.
    pub memory_source: String,
    /// Memory bandwidth in gigabytes a second; for a vGPU share that of the whole card.
    pub bandwidth_gb_s: Option<f64>,
    /// 32-bit float throughput, in 10^12 operations a second.
    pub fp32_tflops: Option<f64>,
    /// Dense 16-bit tensor core throughput, in 10^12 operations a second.
    pub fp16_tflops: Option<f64>,
    /// Dense 8-bit integer throughput, in 10^12 operations a second.
    pub int8_tops: Option<f64>,
    /// Where the speeds come from.
    pub spec_source: String,
    /// Whether the hardware multiplies 8-bit floats.
    pub has_fp8: bool,
    /// Whether the hardware multiplies bfloat16.
    pub has_bf16: bool,
    /// The last CUDA release that supports it; `None` while support goes on.
    pub cuda_last: Option<String>,
}

/// How the memory of a target was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryBasis {
    /// CUDA's own total, as published.
    CudaReported,
    /// The `nvidia-smi` total, less 512 MiB for the driver.
    NvidiaSmiLessReserve,
    /// The advertised size, less 1 GiB.
    AdvertisedLessReserve,
    /// An amount that the user gave.
    Given,
}

/// What a CUDA process holds before its first tensor, in three guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextBand {
    /// Hardly less.
    pub low: Bytes,
    /// The middle.
    pub expected: Bytes,
    /// Hardly more, with lazy module loading.
    pub high: Bytes,
}

impl ContextBand {
    /// With CUDA 11.7 or newer and lazy module loading, the default since 12.2. Nobody has
    /// published it per GPU; without lazy loading it passes 1 GiB.
    pub const LAZY_LOADING: Self = Self { low: Bytes::mib(250), expected: Bytes::mib(400), high: Bytes::mib(550) };
}

impl Gpu {
    /// What CUDA really offers one process on one such GPU, before its context, and how we know.
    pub fn cuda_total(&self) -> (Bytes, MemoryBasis) {
        match (self.cuda_reported, self.nvidia_smi_total) {
            (Some(total), _) => (total, MemoryBasis::CudaReported),
            (None, Some(total)) => (total.saturating_sub(DRIVER_RESERVE), MemoryBasis::NvidiaSmiLessReserve),
            (None, None) => (self.advertised.saturating_sub(ADVERTISED_RESERVE), MemoryBasis::AdvertisedLessReserve),
        }
    }

    /// What CUDA would offer on one whose `nvidia-smi` total differs from its kind's, ECC off.
    pub(crate) fn cuda_total_at(nvidia_smi_total: Bytes) -> (Bytes, MemoryBasis) {
        (nvidia_smi_total.saturating_sub(DRIVER_RESERVE), MemoryBasis::NvidiaSmiLessReserve)
    }

    /// What the CUDA context holds of [`Gpu::cuda_total`].
    pub fn context(&self) -> ContextBand {
        ContextBand::LAZY_LOADING
    }
}

/// Every NVIDIA GPU that AWS rents out.
pub fn gpus() -> &'static [Gpu] {
    static GPUS: LazyLock<Vec<Gpu>> = LazyLock::new(|| {
        table::rows(include_str!("../data/gpus.csv"))
            .map(|row| Gpu {
                key: row.text("key"),
                model: row.text("model"),
                arch: row.text("arch"),
                compute_capability: row.get("compute_capability"),
                advertised: Bytes::mib(row.get("advertised_mib")),
                ec2_api_total: row.maybe_mib("ec2_api_mib"),
                nvidia_smi_total: row.maybe_mib("nvidia_smi_mib"),
                cuda_reported: row.maybe_mib("cuda_mib"),
                memory_source: row.text("memory_source"),
                bandwidth_gb_s: row.maybe("bandwidth_gb_s"),
                fp32_tflops: row.maybe("fp32_tflops"),
                fp16_tflops: row.maybe("fp16_tflops"),
                int8_tops: row.maybe("int8_tops"),
                spec_source: row.text("spec_source"),
                has_fp8: row.flag("fp8"),
                has_bf16: row.flag("bf16"),
                cuda_last: row.maybe("cuda_last"),
            })
            .collect()
    });
    &GPUS
}
