//! A model loaded into ONNX Runtime.
//!
//! A session runs, counts its arena, and tells running out of memory from every other failure.
//! After a run that failed the session is still good for a smaller input.

#![allow(clippy::result_large_err)] // ort's builder travels inside its errors; nothing here is hot.

pub(crate) mod bound;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::memory::Allocator;
use ort::session::builder::{BuilderResult, GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session as OrtSession, SessionInputValue};
use ort::value::{DynValue, Outlet, ValueType};
use serde::{Deserialize, Serialize};

use crate::arena::{self, ArenaStats, Device};
use crate::library::Library;
use crate::spec::{Meter, OptimizationLevel, Provider, SessionSpec};
use crate::trace::{Trace, Tracer};
use crate::{ElementType, RunError, Stage, Tensors, tiny_model, value};

/// A model loaded into ONNX Runtime. Fields drop in this order: the session before what it uses.
pub struct Session {
    session: OrtSession,
    run_options: RunOptions,
    arena: Option<Allocator>,
    tracer: Option<Arc<Tracer>>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    library: &'static Library,
    device: Device,
    device_id: i32,
}

/// An input or output as the model declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// Element type; `None` if it is no tensor.
    pub element_type: Option<ElementType>,
    /// Shape; `None` where a dimension is open.
    pub shape: Vec<Option<u64>>,
}

/// What a run returned, still in ONNX Runtime's memory: its bytes stay in the arena's use until
/// this is dropped.
#[derive(Default)]
pub struct Outputs {
    values: Vec<(String, DynValue)>,
    // After the values: they give their memory back to it.
    _tracer: Option<Arc<Tracer>>,
}

impl Outputs {
    /// Copies them out; the originals stay until `self` is dropped.
    pub fn to_tensors(&self) -> Result<Tensors, RunError> {
        let pairs = self.values.iter().map(|(name, value)| Ok((name.clone(), value::from_value(name, value)?)));
        pairs.collect()
    }

    /// The float ones in place, uncopied: their names and numbers.
    pub fn floats(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let numbers = |value| DynValue::try_extract_tensor::<f32>(value).ok().map(|(_, numbers)| numbers);
        self.values.iter().filter_map(move |(name, value)| Some((name.as_str(), numbers(value)?)))
    }

    /// Takes over those that another run returned.
    pub fn extend(&mut self, others: Self) {
        self.values.extend(others.values);
    }

    /// Gives back the memory of all but some.
    pub fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.values.retain(|(name, _)| is_kept(name));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl Session {
    /// Loads a model as `spec` says.
    pub fn open(library: &'static Library, spec: &SessionSpec) -> Result<Self, RunError> {
        check_spec(spec)?;
        if spec.capture_arena_log {
            library.capture_arena_log();
        }
        let plain = || builder(library, spec);
        let load = |mut builder: SessionBuilder| {
            builder.commit_from_file(&spec.model).map_err(|error| arena::load_failure(&error))
        };
        let from_environment = || {
            let builder = plain()?.with_env_allocators();
            load(builder.map_err(|error| RunError::from_message(Stage::Load, error.message()))?)
        };
        let (session, tracer) = match (spec.meter, &spec.cpu_arena) {
            (Meter::Arena, None) => (load(plain()?)?, None),
            (Meter::Arena, Some(config)) => (arena::with_registered_arena(library, config, from_environment)?, None),
            (Meter::Requests, _) => {
                let tracer = Tracer::system()?;
                (tracer.with_registered(library, from_environment)?, Some(tracer))
            }
            (Meter::ArenaEachRun, _) => {
                let tracer = Tracer::over_arena(arena_owner(library, spec)?)?;
                (tracer.with_registered(library, from_environment)?, Some(tracer))
            }
        };
        Self::around(library, spec, session, tracer)
    }

    fn around(
        library: &'static Library,
        spec: &SessionSpec,
        session: OrtSession,
        tracer: Option<Arc<Tracer>>,
    ) -> Result<Self, RunError> {
        let device = match spec.provider {
            Provider::Cpu => Device::Cpu,
            Provider::Cuda { .. } => Device::Cuda,
        };
        let arena = match device {
            _ if tracer.is_some() || !spec.cpu_arena_enabled => None,
            device => Some(arena::arena_of(&session, device, device_id(spec))?),
        };
        let mut run_options = RunOptions::new().map_err(|error| arena::load_failure(&error))?;
        for (key, value) in &spec.run_config {
            run_options.set(key, value).map_err(|error| arena::load_failure(&error))?;
        }
        let inputs = session.inputs().iter().map(TensorInfo::new).collect();
        let outputs = session.outputs().iter().map(TensorInfo::new).collect();
        Ok(Self { session, run_options, arena, tracer, inputs, outputs, library, device, device_id: device_id(spec) })
    }

    /// Loads several models into one arena, with the settings of the first: together they keep to
    /// its limit.
    pub fn open_together(library: &'static Library, specs: &[SessionSpec]) -> Result<Vec<Self>, RunError> {
        let config = specs.first().and_then(|spec| spec.cpu_arena).unwrap_or_default();
        arena::with_registered_arena(library, &config, || {
            let open = |spec: &SessionSpec| {
                check_spec(spec)?;
                if spec.provider != Provider::Cpu || spec.meter != Meter::Arena || !spec.cpu_arena_enabled {
                    return Err(RunError::Option("only sessions of the CPU's arena can share it".to_owned()));
                }
                let builder = builder(library, spec)?.with_env_allocators();
                let mut builder = builder.map_err(|error| RunError::from_message(Stage::Load, error.message()))?;
                let session = builder.commit_from_file(&spec.model).map_err(|error| arena::load_failure(&error))?;
                Self::around(library, spec, session, None)
            };
            specs.iter().map(open).collect()
        })
    }

    /// The model's inputs.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// Runs once and copies the outputs out; ONNX Runtime's are released before this returns.
    pub fn run(&mut self, inputs: &Tensors) -> Result<Tensors, RunError> {
        self.run_holding(inputs)?.to_tensors()
    }

    /// Runs once and leaves the outputs in ONNX Runtime's memory.
    pub fn run_holding(&mut self, inputs: &Tensors) -> Result<Outputs, RunError> {
        self.check_inputs(inputs)?;
        let values = inputs
            .iter()
            .map(|(name, tensor)| Ok((name, value::to_value(name, tensor)?)))
            .collect::<Result<Vec<_>, RunError>>()?;
        let outputs = self
            .session
            .run_with_options(values, &self.run_options)
            .map_err(|error| RunError::from_message(Stage::Run, error.message()))?;
        let values = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Outputs { values, _tracer: self.tracer.clone() })
    }

    /// Runs once on inputs and on what other runs left in ONNX Runtime's memory, uncopied; what is
    /// no input of this model is left alone.
    pub fn run_on(&mut self, inputs: &Tensors, left: &Outputs) -> Result<Outputs, RunError> {
        let mut fed: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        for info in &self.inputs {
            if let Some((_, held)) = left.values.iter().find(|(name, _)| *name == info.name) {
                fed.push((&info.name, held.into()));
            } else if let Some(tensor) = inputs.get(&info.name) {
                fed.push((&info.name, value::to_value(&info.name, tensor)?.into()));
            } else {
                return Err(RunError::Input { name: info.name.clone(), reason: "is missing".to_owned() });
            }
        }
        let outputs = self.session.run_with_options(fed, &self.run_options);
        let outputs = outputs.map_err(|error| RunError::from_message(Stage::Run, error.message()))?;
        let values = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Outputs { values, _tracer: self.tracer.clone() })
    }

    /// A binding of inputs and outputs to buffers.
    pub(crate) fn new_binding(&self) -> Result<ort::session::IoBinding, RunError> {
        self.session.create_binding().map_err(|error| RunError::from_message(Stage::Run, error.message()))
    }

    /// Runs once with bound inputs and outputs.
    pub(crate) fn run_bound(&mut self, binding: &ort::session::IoBinding) -> Result<Vec<(String, DynValue)>, RunError> {
        let outputs = self.session.run_binding_with_options(binding, &self.run_options);
        let outputs = outputs.map_err(|error| RunError::from_message(Stage::Run, error.message()))?;
        Ok(outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Who gives memory on the device that the session runs on; `None` on the host.
    pub(crate) fn device_allocator(&self) -> Option<&Allocator> {
        self.arena.as_ref().filter(|_| self.device == Device::Cuda)
    }

    /// The counters of the session's arena: the provider's own device.
    ///
    /// `max_in_use` never falls. The peak of one run alone comes from [`Meter::ArenaEachRun`] and
    /// [`Session::take_trace`].
    pub fn arena_stats(&self) -> Result<ArenaStats, RunError> {
        match self.arena.as_ref().or_else(|| self.tracer.as_ref()?.arena()) {
            Some(arena) => arena::stats(arena),
            None => Err(RunError::Option("this session has no arena whose counters could be read".to_owned())),
        }
    }

    /// The host arena's counters, which on a GPU holds feeds, fetches and CPU nodes.
    pub fn host_arena_stats(&self) -> Result<ArenaStats, RunError> {
        if self.device == Device::Cpu {
            return self.arena_stats();
        }
        arena::stats(&arena::arena_of(&self.session, Device::Cpu, 0)?)
    }

    /// What the allocator of [`Meter::Requests`] or [`Meter::ArenaEachRun`] saw since the last
    /// call; `None` with another meter.
    pub fn take_trace(&self) -> Option<Trace> {
        self.tracer.as_ref().map(|tracer| tracer.take())
    }

    /// The arena's log lines since the last call, of every session of this process.
    pub fn take_arena_log(&self) -> Vec<String> {
        self.library.take_arena_log()
    }

    /// Ends profiling and returns the file it wrote.
    pub fn end_profiling(&mut self) -> Result<PathBuf, RunError> {
        let path = self.session.end_profiling();
        path.map(PathBuf::from).map_err(|error| RunError::from_message(Stage::Run, error.message()))
    }

    /// The GPU that the session's arena is on; `None` on the host.
    pub(crate) fn card(&self) -> Option<u32> {
        match self.device {
            Device::Cpu => None,
            Device::Cuda => u32::try_from(self.device_id).ok(),
        }
    }

    /// The name of the session's arena in run options.
    pub(crate) fn arena_name(&self) -> String {
        match self.device {
            Device::Cpu => format!("cpu:{}", self.device_id),
            Device::Cuda => format!("gpu:{}", self.device_id),
        }
    }

    /// The session itself and the options of its runs.
    pub(crate) fn parts(&mut self) -> (&mut OrtSession, &RunOptions) {
        (&mut self.session, &self.run_options)
    }

    /// Refuses inputs that the model does not have or that are not of its types.
    pub(crate) fn check_inputs(&self, inputs: &Tensors) -> Result<(), RunError> {
        let refuse = |name: &str, reason: String| RunError::Input { name: name.to_owned(), reason };
        for (name, tensor) in inputs.iter() {
            let Some(info) = self.inputs.iter().find(|info| info.name == name) else {
                let known: Vec<&str> = self.inputs.iter().map(|info| info.name.as_str()).collect();
                return Err(refuse(name, format!("is none of the model's: {}", known.join(", "))));
            };
            if let Some(want) = info.element_type
                && want != tensor.element_type()
            {
                return Err(refuse(name, format!("is {}, but the model wants {want}", tensor.element_type())));
            }
            let fits = info.shape.len() == tensor.shape().len()
                && info.shape.iter().zip(tensor.shape()).all(|(want, have)| want.is_none_or(|want| want == *have));
            if info.element_type.is_some() && !fits {
                let want: Vec<String> =
                    info.shape.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
                return Err(refuse(
                    name,
                    format!("is {:?}, but the model wants [{}]", tensor.shape(), want.join(", ")),
                ));
            }
        }
        match self.inputs.iter().find(|info| inputs.get(&info.name).is_none()) {
            Some(missing) => Err(refuse(&missing.name, "is missing".to_owned())),
            None => Ok(()),
        }
    }
}

impl TensorInfo {
    fn new(outlet: &Outlet) -> Self {
        let (element_type, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                (value::from_ort(*ty), shape.iter().map(|dim| u64::try_from(*dim).ok()).collect())
            }
            _ => (None, Vec::new()),
        };
        Self { name: outlet.name().to_owned(), element_type, shape }
    }
}

fn check_spec(spec: &SessionSpec) -> Result<(), RunError> {
    let refuse = |reason: &str| Err(RunError::Option(reason.to_owned()));
    if !spec.cpu_arena_enabled && (spec.cpu_arena.is_some() || spec.meter == Meter::ArenaEachRun) {
        return refuse("arena settings need the CPU arena to be on");
    }
    if spec.provider != Provider::Cpu && spec.meter != Meter::Arena {
        return refuse("only the CPU provider's requests can be traced");
    }
    let limited = spec.cpu_arena.is_some_and(|config| config.limit.is_some());
    if spec.meter == Meter::ArenaEachRun && limited {
        return refuse("the peak of each run alone cannot be measured under an arena limit");
    }
    if spec.meter == Meter::Requests && spec.cpu_arena.is_some() {
        return refuse("arena settings mean nothing when requests are traced without an arena");
    }
    if !Path::new(&spec.model).is_file() {
        return Err(RunError::Option(format!("model `{}` is no file", spec.model.display())));
    }
    Ok(())
}

fn device_id(spec: &SessionSpec) -> i32 {
    match &spec.provider {
        Provider::Cpu => 0,
        Provider::Cuda { options } => options.get("device_id").and_then(|id| id.parse().ok()).unwrap_or(0),
    }
}

/// A session whose only purpose is to own an arena with the settings asked for.
fn arena_owner(library: &'static Library, spec: &SessionSpec) -> Result<OrtSession, RunError> {
    let bytes = tiny_model::identity();
    let make = |builder: BuilderResult| {
        let builder = builder.and_then(|builder| builder.with_intra_threads(1));
        let mut builder = builder.map_err(|error| RunError::from_message(Stage::Load, error.message()))?;
        builder.commit_from_memory(&bytes).map_err(|error| arena::load_failure(&error))
    };
    let new = || SessionBuilder::new(&library.environment).map_err(|error| arena::load_failure(&error));
    match &spec.cpu_arena {
        None => make(Ok(new()?)),
        Some(config) => arena::with_registered_arena(library, config, || make(new()?.with_env_allocators())),
    }
}

fn builder(library: &Library, spec: &SessionSpec) -> Result<SessionBuilder, RunError> {
    let builder = SessionBuilder::new(&library.environment).map_err(|error| arena::load_failure(&error))?;
    let built = options(builder, spec).map_err(|error| RunError::from_message(Stage::Load, error.message()))?;
    with_provider(built, spec)
}

fn options(builder: SessionBuilder, spec: &SessionSpec) -> BuilderResult {
    let level = match spec.optimization {
        OptimizationLevel::Disable => GraphOptimizationLevel::Disable,
        OptimizationLevel::Basic => GraphOptimizationLevel::Level1,
        OptimizationLevel::Extended => GraphOptimizationLevel::Level2,
        OptimizationLevel::All => GraphOptimizationLevel::All,
    };
    let mut builder = builder.with_optimization_level(level)?.with_memory_pattern(spec.mem_pattern)?;
    if let Some(threads) = spec.intra_op_threads {
        builder = builder.with_intra_threads(threads as usize)?;
    }
    if let Some(threads) = spec.inter_op_threads {
        builder = builder.with_parallel_execution(threads > 1)?.with_inter_threads(threads as usize)?;
    }
    if let Some(path) = &spec.optimized_model {
        builder = builder.with_optimized_model_path(path)?;
    }
    if let Some(prefix) = &spec.profile_prefix {
        builder = builder.with_profiling(prefix)?;
    }
    for (key, value) in &spec.config {
        builder = builder.with_config_entry(key, value)?;
    }
    Ok(builder)
}

fn with_provider(builder: SessionBuilder, spec: &SessionSpec) -> Result<SessionBuilder, RunError> {
    use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider};
    let provider = match &spec.provider {
        Provider::Cpu => ep::CPU::default().with_arena_allocator(spec.cpu_arena_enabled).build(),
        Provider::Cuda { options } => {
            let start = ep::CUDA::default();
            options.iter().fold(start, |cuda, (key, value)| cuda.with_arbitrary_config(key, value)).build()
        }
    };
    // Without `error_on_failure` a missing CUDA would silently become the CPU.
    builder.with_execution_providers([provider.error_on_failure()]).map_err(|error| RunError::ProviderUnavailable {
        provider: spec.provider.onnxruntime_name().to_owned(),
        message: error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests;
