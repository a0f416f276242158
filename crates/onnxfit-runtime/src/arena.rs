//! The arena's own counters, and arenas with settings of ours.
#![allow(unsafe_code)] // Arena settings and statistics exist in ONNX Runtime's C interface only.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use onnxfit_base::Bytes;
use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::sys;
use serde::{Deserialize, Serialize};

use crate::library::Library;
use crate::spec::{ArenaConfig, ArenaExtend};
use crate::{RunError, Stage, json_bytes};

/// An arena's counters, as `AllocatorGetStats` tells them (bfc_arena.cc, ORT 1.31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaStats {
    /// `InUse`: chunks handed out, whole chunks, and reserved blocks.
    #[serde(with = "json_bytes", rename = "in_use_bytes")]
    pub in_use: Bytes,
    /// `RequestedInUse`: the same as asked for; absent before ORT 1.30.
    #[serde(with = "json_bytes::optional", rename = "requested_in_use_bytes")]
    pub requested_in_use: Option<Bytes>,
    /// `MaxInUse`: the highest `InUse` since the arena was made; it never falls.
    #[serde(with = "json_bytes", rename = "max_in_use_bytes")]
    pub max_in_use: Bytes,
    /// `TotalAllocated`: regions and reserved blocks taken from the device.
    #[serde(with = "json_bytes", rename = "total_allocated_bytes")]
    pub total_allocated: Bytes,
    /// `MaxAllocSize`: the largest chunk handed out.
    #[serde(with = "json_bytes", rename = "max_alloc_bytes")]
    pub max_alloc_size: Bytes,
    /// `NumAllocs`, reserves included.
    pub num_allocs: u64,
    /// `NumReserves`.
    pub num_reserves: u64,
    /// `NumArenaExtensions`; a shrink takes one off.
    pub num_arena_extensions: u64,
    /// `NumArenaShrinkages`.
    pub num_arena_shrinkages: u64,
    /// `Limit`; `None` when the arena has none.
    #[serde(with = "json_bytes::optional", rename = "limit_bytes")]
    pub limit: Option<Bytes>,
}

impl ArenaStats {
    /// Whether the arena's limit still holds. Reserved weights are not checked against it, and once
    /// they have passed it the arena's subtraction wraps and nothing is refused any more
    /// (`BFCArena::Extend`, ORT 1.31).
    pub fn limit_is_enforced(&self) -> bool {
        self.limit.is_some_and(|limit| limit >= self.total_allocated)
    }

    fn from_pairs(pairs: &BTreeMap<String, String>) -> Self {
        let number = |key: &str| pairs.get(key).and_then(|text| text.parse::<i64>().ok());
        let count = |key: &str| number(key).and_then(|value| u64::try_from(value).ok());
        let bytes = |key: &str| Bytes(count(key).unwrap_or(0));
        Self {
            in_use: bytes("InUse"),
            requested_in_use: count("RequestedInUse").map(Bytes),
            max_in_use: bytes("MaxInUse"),
            total_allocated: bytes("TotalAllocated"),
            max_alloc_size: bytes("MaxAllocSize"),
            num_allocs: count("NumAllocs").unwrap_or(0),
            num_reserves: count("NumReserves").unwrap_or(0),
            num_arena_extensions: count("NumArenaExtensions").unwrap_or(0),
            num_arena_shrinkages: count("NumArenaShrinkages").unwrap_or(0),
            // An unlimited arena's SIZE_MAX is printed as -1, and some allocators print 0 or the
            // greatest signed number.
            limit: count("Limit").filter(|limit| *limit != 0 && *limit != i64::MAX as u64).map(Bytes),
        }
    }
}

/// Which arena of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The host.
    Cpu,
    /// A CUDA device.
    Cuda,
}

pub(crate) fn check(status: sys::OrtStatusPtr) -> Result<(), ort::Error> {
    // SAFETY: every caller hands on a status that an ONNX Runtime call just returned to it.
    unsafe { ort::Error::result_from_status(status) }
}

pub(crate) fn load_failure(error: &ort::Error) -> RunError {
    RunError::from_message(Stage::Load, error.message())
}

pub(crate) fn arena_of(session: &ort::session::Session, device: Device, device_id: i32) -> Result<Allocator, RunError> {
    let place = match device {
        Device::Cpu => AllocationDevice::CPU,
        Device::Cuda => AllocationDevice::CUDA,
    };
    MemoryInfo::new(place, device_id, AllocatorType::Arena, MemoryType::Default)
        .and_then(|info| Allocator::new(session, info))
        .map_err(|error| load_failure(&error))
}

/// Reads the counters of an allocator; all zero if it keeps none.
pub(crate) fn stats(allocator: &Allocator) -> Result<ArenaStats, RunError> {
    // SAFETY: `allocator` is alive for the call.
    unsafe { stats_of(allocator.ptr()) }.map_err(|error| RunError::from_message(Stage::Run, error.message()))
}

/// # Safety
/// `allocator` is a live allocator that ONNX Runtime made.
pub(crate) unsafe fn stats_of(allocator: *const sys::OrtAllocator) -> Result<ArenaStats, ort::Error> {
    let api = ort::api();
    let mut pairs: *mut sys::OrtKeyValuePairs = std::ptr::null_mut();
    // SAFETY: the allocator is alive (this function's promise); `pairs` receives a list that is
    // ours to release.
    check(unsafe { (api.AllocatorGetStats)(allocator, &mut pairs) })?;
    let mut keys: *const *const c_char = std::ptr::null();
    let mut values: *const *const c_char = std::ptr::null();
    let mut count = 0usize;
    // SAFETY: `pairs` is the list just received; the arrays live as long as it does, and hold
    // `count` strings each that end in a zero byte.
    let stats = unsafe {
        (api.GetKeyValuePairs)(pairs, &mut keys, &mut values, &mut count);
        let text =
            |array: *const *const c_char, at: usize| CStr::from_ptr(*array.add(at)).to_string_lossy().into_owned();
        ArenaStats::from_pairs(&(0..count).map(|at| (text(keys, at), text(values, at))).collect())
    };
    // SAFETY: released once, and not used after.
    unsafe { (api.ReleaseKeyValuePairs)(pairs) };
    Ok(stats)
}

/// Registers a CPU arena of these settings with the environment, makes a session while it is
/// there, and takes it out again: the session keeps it alive, and the next session has its own.
pub(crate) fn with_registered_arena<T>(
    library: &Library,
    config: &ArenaConfig,
    make: impl FnOnce() -> Result<T, RunError>,
) -> Result<T, RunError> {
    let (keys, values) = arena_keys(config)?;
    let key_pointers: Vec<*const c_char> = keys.iter().map(|key| key.as_ptr()).collect();
    let _alone = library.lock_registration();
    let api = ort::api();
    let environment = library.environment.ptr().cast_mut();
    let info = cpu_info(AllocatorType::Arena)?;
    let mut arena: *mut sys::OrtArenaCfg = std::ptr::null_mut();
    // SAFETY: both arrays hold as many entries as the count says and outlive the call.
    check(unsafe { (api.CreateArenaCfgV2)(key_pointers.as_ptr(), values.as_ptr(), values.len(), &mut arena) })
        .map_err(|error| load_failure(&error))?;
    // SAFETY: environment, info and settings are alive; ONNX Runtime copies what it keeps, so the
    // settings may be released at once.
    let registered = unsafe {
        let status = (api.CreateAndRegisterAllocator)(environment, info.ptr(), arena);
        (api.ReleaseArenaCfg)(arena);
        check(status)
    };
    registered.map_err(|error| load_failure(&error))?;
    let made = make();
    // SAFETY: environment and info are alive.
    check(unsafe { (api.UnregisterAllocator)(environment, info.ptr()) }).map_err(|error| load_failure(&error))?;
    made
}

pub(crate) fn cpu_info(allocator_type: AllocatorType) -> Result<MemoryInfo<'static>, RunError> {
    MemoryInfo::new(AllocationDevice::CPU, 0, allocator_type, MemoryType::Default).map_err(|error| load_failure(&error))
}

fn arena_keys(config: &ArenaConfig) -> Result<(Vec<&'static CStr>, Vec<usize>), RunError> {
    let extend = config.extend.map(|extend| match extend {
        ArenaExtend::Power => Bytes(0),
        ArenaExtend::Same => Bytes(1),
    });
    let entries = [
        (c"max_mem", config.limit),
        (c"arena_extend_strategy", extend),
        (c"initial_chunk_size_bytes", config.initial_chunk),
        (c"max_dead_bytes_per_chunk", config.dead_per_chunk_max),
        (c"initial_growth_chunk_size_bytes", config.initial_growth_chunk),
        (c"max_power_of_two_extend_bytes", config.power_of_two_extend_max),
    ];
    // ONNX Runtime reads `max_mem` as size_t and the others as int (environment.cc, ORT 1.31); a
    // limit of zero would mean none.
    if config.limit == Some(Bytes::ZERO) {
        return Err(RunError::Option(
            "an arena limit of 0 bytes means no limit to ONNX Runtime; leave it out".to_owned(),
        ));
    }
    let mut keys = Vec::new();
    let mut values = Vec::new();
    for (key, value) in entries {
        let Some(value) = value else { continue };
        let most = match key.to_bytes() {
            b"max_mem" | b"max_power_of_two_extend_bytes" => i64::MAX as u64,
            _ => i32::MAX as u64,
        };
        if value.get() > most {
            let key = key.to_string_lossy();
            return Err(RunError::Option(format!("arena option `{key}` is {} bytes, more than {most}", value.get())));
        }
        keys.push(key);
        values.push(value.get() as usize);
    }
    Ok((keys, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlimited_arena_has_no_limit() {
        let pairs = [("Limit", "-1"), ("InUse", "256"), ("TotalAllocated", "1048576")];
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let stats = ArenaStats::from_pairs(&pairs);
        assert_eq!((stats.limit, stats.in_use, stats.requested_in_use), (None, Bytes(256), None));
        assert!(!stats.limit_is_enforced());
    }

    #[test]
    fn refuses_settings_that_would_not_mean_what_they_say() {
        let zero = ArenaConfig { limit: Some(Bytes::ZERO), ..ArenaConfig::default() };
        assert!(arena_keys(&zero).is_err());
        let wide = ArenaConfig { initial_chunk: Some(Bytes::gib(4)), ..ArenaConfig::default() };
        assert!(arena_keys(&wide).is_err());
    }
}
