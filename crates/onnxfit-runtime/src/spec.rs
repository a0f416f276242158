//! What a session is asked to be: model, provider, options, arena.
//!
//! Plain data, so that it can be written to `session.json` and sent to a worker process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit_base::Bytes;
use serde::{Deserialize, Serialize};

use crate::json_bytes;

/// Everything that decides how ONNX Runtime loads and runs a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionSpec {
    /// The model file; external data is looked for beside it.
    pub model: PathBuf,
    /// Where nodes run.
    pub provider: Provider,
    /// Graph optimization level.
    pub optimization: OptimizationLevel,
    /// `enable_mem_pattern`.
    pub mem_pattern: bool,
    /// Arena settings of the CPU provider; `None` leaves ONNX Runtime's defaults. The CUDA
    /// provider's arena is set by its own options (`gpu_mem_limit`, `arena_extend_strategy`).
    pub cpu_arena: Option<ArenaConfig>,
    /// Whether the CPU provider uses an arena at all.
    pub cpu_arena_enabled: bool,
    /// Who counts the CPU provider's bytes.
    pub meter: Meter,
    /// Threads within one operator; `None` leaves the choice to ONNX Runtime.
    pub intra_op_threads: Option<u32>,
    /// Threads between operators; `Some(n)` with `n > 1` also turns parallel execution on.
    pub inter_op_threads: Option<u32>,
    /// Session config entries, such as `session.use_device_allocator_for_initializers`.
    pub config: BTreeMap<String, String>,
    /// Run config entries, such as `memory.enable_memory_arena_shrinkage`.
    pub run_config: BTreeMap<String, String>,
    /// Where to write the optimized model.
    pub optimized_model: Option<PathBuf>,
    /// Prefix of the profile that is written when the session ends profiling.
    pub profile_prefix: Option<PathBuf>,
    /// Keep the arena's own log lines for [`crate::Session::take_arena_log`].
    pub capture_arena_log: bool,
}

impl Default for SessionSpec {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            provider: Provider::Cpu,
            optimization: OptimizationLevel::All,
            mem_pattern: true,
            cpu_arena: None,
            cpu_arena_enabled: true,
            meter: Meter::Arena,
            intra_op_threads: None,
            inter_op_threads: None,
            config: BTreeMap::new(),
            run_config: BTreeMap::new(),
            optimized_model: None,
            profile_prefix: None,
            capture_arena_log: false,
        }
    }
}

impl SessionSpec {
    /// ONNX Runtime's defaults for a model.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }
}

/// Where nodes run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Provider {
    /// The CPU provider.
    #[default]
    Cpu,
    /// The CUDA provider, and the CPU for what it cannot run.
    Cuda {
        /// Provider options by ONNX Runtime's names, such as `gpu_mem_limit`.
        #[serde(default)]
        options: BTreeMap<String, String>,
    },
}

impl Provider {
    /// ONNX Runtime's name for it.
    pub fn onnxruntime_name(&self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda { .. } => "CUDAExecutionProvider",
        }
    }
}

/// `GraphOptimizationLevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizationLevel {
    /// None.
    Disable,
    /// Level 1.
    Basic,
    /// Levels 1 and 2.
    Extended,
    /// Everything, layout changes included; ONNX Runtime's default.
    #[default]
    All,
}

/// Settings of one arena; `None` leaves ONNX Runtime's default (bfc_arena.h, ORT 1.31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArenaConfig {
    /// `max_mem`.
    #[serde(with = "json_bytes::optional", rename = "limit_bytes")]
    pub limit: Option<Bytes>,
    /// `arena_extend_strategy`.
    pub extend: Option<ArenaExtend>,
    /// `initial_chunk_size_bytes`.
    #[serde(with = "json_bytes::optional", rename = "initial_chunk_bytes")]
    pub initial_chunk: Option<Bytes>,
    /// `max_dead_bytes_per_chunk`.
    #[serde(with = "json_bytes::optional", rename = "dead_bytes_per_chunk_max")]
    pub dead_per_chunk_max: Option<Bytes>,
    /// `initial_growth_chunk_size_bytes`.
    #[serde(with = "json_bytes::optional", rename = "initial_growth_chunk_bytes")]
    pub initial_growth_chunk: Option<Bytes>,
    /// `max_power_of_two_extend_bytes`.
    #[serde(with = "json_bytes::optional", rename = "power_of_two_extend_bytes_max")]
    pub power_of_two_extend_max: Option<Bytes>,
}

/// `arena_extend_strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArenaExtend {
    /// `kNextPowerOfTwo`.
    Power,
    /// `kSameAsRequested`.
    Same,
}

/// Who counts the CPU provider's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// The arena's own counters. Its peak never falls: after a larger run, a smaller run's peak
    /// cannot be told.
    #[default]
    Arena,
    /// The arena's own counters, read after every allocation through an allocator of ours that
    /// passes each call on to the arena: the peak of each run alone, and the traffic. Without a
    /// limit only, because the arena's refusal cannot be passed back through it.
    ArenaEachRun,
    /// No arena: an allocator of ours that takes memory from the system. The traffic as the
    /// kernels and the planner cause it, and the exact requested peak of each run.
    Requests,
}
