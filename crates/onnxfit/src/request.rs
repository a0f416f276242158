//! What is asked: where it should run, on which sizes, with which session options.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_hardware::{Target, resolve_target};
use onnxfit_memory::arena::ArenaExtendStrategy;
use onnxfit_memory::overhead::CalibrationEntry;
use onnxfit_plan::Levers;
use onnxfit_report::check::TargetView;

use crate::Error;

/// The provider that runs the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// `CPUExecutionProvider`.
    Cpu,
    /// `CUDAExecutionProvider`.
    #[default]
    Cuda,
}

impl Provider {
    /// The short name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// `GraphOptimizationLevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptimizationLevel {
    /// `ORT_DISABLE_ALL`.
    Disable,
    /// `ORT_ENABLE_BASIC`.
    Basic,
    /// `ORT_ENABLE_EXTENDED`.
    Extended,
    /// `ORT_ENABLE_ALL`, ONNX Runtime's default.
    #[default]
    All,
}

impl OptimizationLevel {
    /// ONNX Runtime's name in Python.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "ORT_DISABLE_ALL",
            Self::Basic => "ORT_ENABLE_BASIC",
            Self::Extended => "ORT_ENABLE_EXTENDED",
            Self::All => "ORT_ENABLE_ALL",
        }
    }
}

impl From<OptimizationLevel> for onnxfit_runtime::OptimizationLevel {
    fn from(level: OptimizationLevel) -> Self {
        match level {
            OptimizationLevel::Disable => Self::Disable,
            OptimizationLevel::Basic => Self::Basic,
            OptimizationLevel::Extended => Self::Extended,
            OptimizationLevel::All => Self::All,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it should run; `None` asks only how much it takes.
    pub target: Option<Target>,
    /// The provider.
    pub provider: Provider,
    /// Sizes of named dimensions.
    pub dims: BTreeMap<String, i64>,
    /// Shapes of inputs.
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// Graph optimization level.
    pub optimization: OptimizationLevel,
    /// `enable_mem_pattern`.
    pub mem_pattern: bool,
    /// `gpu_mem_limit`, or `max_mem` of the CPU arena.
    pub arena_limit: Option<Bytes>,
    /// `arena_extend_strategy`.
    pub arena_extend_strategy: ArenaExtendStrategy,
    /// `initial_chunk_size_bytes` of the arena; `None` is ONNX Runtime's 1 MiB.
    pub initial_chunk: Option<Bytes>,
    /// `max_dead_bytes_per_chunk` of the arena; `None` is ONNX Runtime's 128 MiB.
    pub dead_per_chunk_max: Option<Bytes>,
    /// `memory.enable_memory_arena_shrinkage` with every run.
    pub shrink_after_run: bool,
    /// `session.use_device_allocator_for_initializers`.
    pub device_allocator_for_initializers: bool,
    /// Measured on the user's own card (`measure --calibrate`); comes before what is built in.
    pub calibration: Vec<CalibrationEntry>,
    /// Intra-op threads.
    pub n_threads: u32,
    /// The release that is predicted.
    pub ort_version: String,
}

impl Default for Request {
    fn default() -> Self {
        Self::new(Provider::default())
    }
}

impl Request {
    /// The settings of session, arena and runs that it asks for.
    pub(crate) fn levers(&self) -> Levers {
        Levers {
            mem_pattern: self.mem_pattern,
            same_as_requested: self.arena_extend_strategy == ArenaExtendStrategy::SameAsRequested,
            device_allocator_for_initializers: self.device_allocator_for_initializers,
            initial_chunk: self.initial_chunk,
            dead_per_chunk_max: self.dead_per_chunk_max,
            shrink_after_run: self.shrink_after_run,
        }
    }

    /// ONNX Runtime's defaults, no target, no sizes.
    pub fn new(provider: Provider) -> Self {
        Self {
            target: None,
            provider,
            dims: BTreeMap::new(),
            shapes: BTreeMap::new(),
            optimization: OptimizationLevel::All,
            mem_pattern: true,
            arena_limit: None,
            arena_extend_strategy: ArenaExtendStrategy::NextPowerOfTwo,
            initial_chunk: None,
            dead_per_chunk_max: None,
            shrink_after_run: false,
            calibration: Vec::new(),
            device_allocator_for_initializers: false,
            n_threads: 2,
            ort_version: onnxfit_runtime::install::DEFAULT_VERSION.to_owned(),
        }
    }

    /// The same, to run on an instance type, a GPU, or in an amount of memory.
    pub fn on(mut self, target: &str) -> Result<Self, Error> {
        self.target = Some(resolve_target(target)?);
        Ok(self)
    }

    /// The same with a size for a named dimension.
    #[must_use]
    pub fn dim(mut self, name: &str, size: i64) -> Self {
        self.dims.insert(name.to_owned(), size);
        self
    }

    /// What the process may take in all, context included: the target's memory on CUDA; on the
    /// CPU provider the arena's limit.
    pub fn budget(&self) -> Option<Bytes> {
        match self.provider {
            Provider::Cuda => self.target.as_ref().map(|target| target.budget),
            Provider::Cpu => self.limit(),
        }
    }

    /// The arena's limit. On the CPU provider nothing but `max_mem` bounds a session, so a target
    /// that was given becomes that.
    pub fn limit(&self) -> Option<Bytes> {
        self.arena_limit.or_else(|| match self.provider {
            Provider::Cuda => None,
            Provider::Cpu => self.target.as_ref().map(|target| target.host_memory.unwrap_or(target.budget)),
        })
    }

    /// The target as answers show it.
    pub(crate) fn target_view(&self) -> TargetView {
        TargetView {
            name: self.target.as_ref().map_or_else(String::new, |target| target.name.clone()),
            gpu: self.target.as_ref().and_then(|target| target.gpu).map(|gpu| gpu.key.clone()),
            provider: self.provider.as_str().to_owned(),
            budget_bytes: self.budget().map(Into::into),
        }
    }
}
