//! What an arena can be told, with ONNX Runtime's defaults (`OrtArenaCfg`, ORT 1.31).

use onnxfit_base::Bytes;

/// How the arena grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArenaExtendStrategy {
    /// `kNextPowerOfTwo`, the default: 1, 2, 4 MiB … up to 1 GiB a region.
    #[default]
    NextPowerOfTwo,
    /// `kSameAsRequested`: a region is as large as the request that needed it.
    SameAsRequested,
}

impl ArenaExtendStrategy {
    /// ONNX Runtime's own name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NextPowerOfTwo => "kNextPowerOfTwo",
            Self::SameAsRequested => "kSameAsRequested",
        }
    }
}

/// Where the device puts a new region relative to older ones; decides ties between equal chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionAddresses {
    /// Above the older ones, as `cudaMalloc` does.
    #[default]
    Ascending,
    /// Below the older ones, as Linux places large anonymous mappings.
    Descending,
}

/// The configuration of one arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaConfig {
    /// `max_mem`, or `gpu_mem_limit` on CUDA; `None` is unlimited.
    pub limit: Option<Bytes>,
    /// `arena_extend_strategy`.
    pub extend_strategy: ArenaExtendStrategy,
    /// `initial_chunk_size_bytes`.
    pub initial_chunk_bytes: Bytes,
    /// `max_dead_bytes_per_chunk`.
    pub max_dead_bytes_per_chunk: Bytes,
    /// `initial_growth_chunk_size_bytes`: the first step after a shrink.
    pub initial_growth_chunk_bytes: Bytes,
    /// `max_power_of_two_extend_bytes`; the CUDA device arena ignores it.
    pub max_power_of_two_extend_bytes: Bytes,
    /// What the device has for this arena; `None` never refuses.
    pub device_capacity: Option<Bytes>,
    /// How ties between equal chunks fall.
    pub region_addresses: RegionAddresses,
}

impl Default for ArenaConfig {
    fn default() -> Self {
        Self {
            limit: None,
            extend_strategy: ArenaExtendStrategy::NextPowerOfTwo,
            initial_chunk_bytes: Bytes::mib(1),
            max_dead_bytes_per_chunk: Bytes::mib(128),
            initial_growth_chunk_bytes: Bytes::mib(2),
            max_power_of_two_extend_bytes: Bytes::gib(1),
            device_capacity: None,
            region_addresses: RegionAddresses::Ascending,
        }
    }
}

impl ArenaConfig {
    /// `max_mem` as the arena keeps it: zero and unset are unlimited.
    pub(super) fn limit_bytes(&self) -> u64 {
        match self.limit {
            Some(Bytes(limit)) if limit > 0 => limit,
            _ => u64::MAX,
        }
    }
}
