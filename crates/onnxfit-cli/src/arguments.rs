//! Arguments that several verbs share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use onnxfit::{ArenaExtendStrategy, Bytes, BytesIn, OptimizationLevel, Provider, Request, VerifyInputs};

/// The model and the sizes it is asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArguments {
    /// The ONNX file
    pub(crate) model: PathBuf,
    /// Size of a named dimension, as `batch=64`
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim)]
    dim: Vec<(String, i64)>,
    /// Shape of an input, as `pixels:1,3,224,224` or `pixels:1x3x224x224`
    #[arg(long, value_name = "INPUT:SHAPE", value_parser = parse_shape)]
    shape: Vec<(String, Vec<i64>)>,
}

impl ModelArguments {
    /// Puts the sizes into a question.
    pub(crate) fn bind(&self, request: &mut Request) {
        request.dims.extend(self.dim.iter().cloned());
        request.shapes.extend(self.shape.iter().cloned());
    }
}

/// How a changed model is made, whatever the change.
#[derive(Clone, Debug, Args)]
pub(crate) struct MakingArguments {
    /// Seed of made-up inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Fill absent weights with random numbers, so that the model can run
    #[arg(long, value_name = "SEED")]
    pub(crate) random_weights: Option<u64>,
    /// Rewrite the model even if fields that onnxfit does not know are lost
    #[arg(long)]
    pub(crate) force: bool,
    /// Install nothing
    #[arg(long)]
    pub(crate) offline: bool,
}

/// How what was made is proved to answer as the original does.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProofArguments {
    /// Inputs for the proof, as an `.npz` file
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Seed of made-up inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Fill absent weights with random numbers, so that the model can run
    #[arg(long, value_name = "SEED")]
    pub(crate) random_weights: Option<u64>,
    /// Skip the proof
    #[arg(long)]
    no_verify: bool,
    /// Install nothing
    #[arg(long)]
    pub(crate) offline: bool,
}

impl ProofArguments {
    /// The inputs of the proof, unless it is skipped.
    pub(crate) fn verify(&self) -> Option<VerifyInputs> {
        let inputs = || match &self.inputs {
            Some(path) => VerifyInputs::File(path.clone()),
            None => VerifyInputs::Seeded(self.seed),
        };
        (!self.no_verify).then(inputs)
    }
}

/// What ranges are measured and answers compared on.
#[derive(Clone, Debug, Args)]
pub(crate) struct CalibArguments {
    /// Inputs to measure ranges and compare answers on: an `.npz` file or a folder of them; or `.npy` or `.safetensors` files with a row for each sample; or a folder of images
    #[arg(long, value_name = "PATH")]
    pub(crate) calib: Option<PathBuf>,
    /// Taken from each channel of an image of `--calib` after it was divided by 255
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "calib")]
    mean: Vec<f32>,
    /// What each channel is then divided by
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "calib")]
    std: Vec<f32>,
}

impl CalibArguments {
    /// How images become floats.
    pub(crate) fn pixels(&self) -> BytesIn {
        let usual = BytesIn::default();
        let given = |numbers: &[f32], usual: Vec<f32>| if numbers.is_empty() { usual } else { numbers.to_vec() };
        BytesIn { mean: given(&self.mean, usual.mean), deviation: given(&self.std, usual.deviation), ..usual }
    }
}

/// Where and how it is to run.
#[derive(Clone, Debug, Args)]
pub(crate) struct SessionArguments {
    /// An AWS instance type (`g4dn.xlarge`), a GPU (`T4`) or an amount (`14GiB`)
    #[arg(long, value_name = "TARGET")]
    pub(crate) on: Option<String>,
    /// Execution provider
    #[arg(long, value_enum, default_value_t = ProviderArgument::Cuda)]
    provider: ProviderArgument,
    /// Graph optimization level of the session
    #[arg(long, value_enum, default_value_t = LevelArgument::All)]
    opt_level: LevelArgument,
    /// `enable_mem_pattern`
    #[arg(long, value_enum, default_value_t = Switch::On)]
    mem_pattern: Switch,
    /// Limit of the arena: `gpu_mem_limit`, or `max_mem` on the CPU provider
    #[arg(long, value_name = "BYTES")]
    arena_limit: Option<Bytes>,
    /// `arena_extend_strategy`
    #[arg(long, value_enum, default_value_t = ExtendArgument::Power)]
    arena_extend: ExtendArgument,
    /// `initial_chunk_size_bytes` of the arena
    #[arg(long, value_name = "BYTES")]
    initial_chunk: Option<Bytes>,
    /// `max_dead_bytes_per_chunk` of the arena
    #[arg(long, value_name = "BYTES")]
    dead_bytes: Option<Bytes>,
    /// `memory.enable_memory_arena_shrinkage` with every run
    #[arg(long)]
    shrink: bool,
    /// What `measure --calibrate` found on the card; comes before what is built in
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Intra-op threads; kernels' scratch on the CPU depends on them
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: u32,
    /// The ONNX Runtime release to predict
    #[arg(long, value_name = "VERSION", default_value = "1.31.1")]
    ort: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProviderArgument {
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelArgument {
    Disable,
    Basic,
    Extended,
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExtendArgument {
    /// kNextPowerOfTwo
    Power,
    /// kSameAsRequested
    Same,
}

/// The question that the arguments ask.
pub(crate) fn request(model: &ModelArguments, session: &SessionArguments) -> Result<Request, onnxfit::Error> {
    let provider = match session.provider {
        ProviderArgument::Cpu => Provider::Cpu,
        ProviderArgument::Cuda => Provider::Cuda,
    };
    let mut request = Request::new(provider);
    if let Some(target) = &session.on {
        request = request.on(target)?;
    }
    request.dims.extend(model.dim.iter().cloned());
    request.shapes.extend(model.shape.iter().cloned());
    request.optimization = match session.opt_level {
        LevelArgument::Disable => OptimizationLevel::Disable,
        LevelArgument::Basic => OptimizationLevel::Basic,
        LevelArgument::Extended => OptimizationLevel::Extended,
        LevelArgument::All => OptimizationLevel::All,
    };
    request.mem_pattern = matches!(session.mem_pattern, Switch::On);
    request.arena_limit = session.arena_limit;
    request.arena_extend_strategy = match session.arena_extend {
        ExtendArgument::Power => ArenaExtendStrategy::NextPowerOfTwo,
        ExtendArgument::Same => ArenaExtendStrategy::SameAsRequested,
    };
    request.initial_chunk = session.initial_chunk;
    request.dead_per_chunk_max = session.dead_bytes;
    request.shrink_after_run = session.shrink;
    if let Some(path) = &session.calibration {
        request.calibration = onnxfit::read_calibration(path)?;
    }
    request.n_threads = session.threads;
    request.ort_version.clone_from(&session.ort);
    Ok(request)
}

/// A named dimension's size, as `batch=64`.
pub(crate) fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, size) = text.rsplit_once('=').ok_or("write it as `batch=64`")?;
    let size: i64 = size.trim().parse().map_err(|_| format!("`{size}` is no whole number"))?;
    if size < 0 {
        return Err(format!("a dimension cannot be {size}"));
    }
    Ok((name.trim().to_owned(), size))
}

fn parse_shape(text: &str) -> Result<(String, Vec<i64>), String> {
    // Names may hold colons (`serving_default:0`), sizes never do.
    let (name, sizes) = text.rsplit_once(':').ok_or("write it as `pixels:1,3,224,224`")?;
    let sizes: Result<Vec<i64>, String> = sizes
        .split([',', 'x'])
        .filter(|size| !size.trim().is_empty())
        .map(|size| size.trim().parse().map_err(|_| format!("`{size}` is no whole number")))
        .collect();
    Ok((name.to_owned(), sizes?))
}
