//! NVIDIA Triton: `config.pbtxt` of a model for its onnxruntime backend, and of an ensemble.
//!
//! What the backend really reads was taken from its source (onnxruntime_backend, src/onnxruntime.cc,
//! June 2026). `gpu_mem_limit`, `arena_extend_strategy`, `cudnn_conv_algo_search` and
//! `do_copy_in_default_stream` work only as model parameters: the same keys of the `cuda`
//! accelerator are overwritten with defaults afterwards.

mod ensemble;
mod text;

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

pub use ensemble::{Ensemble, Step, ensemble_config};
use text::Text;

/// What runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Every GPU that the server sees.
    EachGpu,
    /// One GPU, by its number.
    Gpu(u32),
    /// The processors.
    Cpu,
}

/// `GraphOptimizationLevel`, as far as Triton can say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Disable,
    /// `ORT_ENABLE_BASIC`.
    Basic,
    /// `ORT_ENABLE_EXTENDED`.
    Extended,
    /// `ORT_ENABLE_ALL`: what Triton takes when nothing is said.
    #[default]
    All,
}

impl Level {
    /// `optimization.graph.level`, which has numbers of its own.
    const fn number(self) -> Option<i32> {
        match self {
            Self::Disable => Some(2),
            Self::Basic => Some(-1),
            Self::Extended => Some(1),
            Self::All => None,
        }
    }
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the model.
    pub name: String,
    /// Its element type.
    pub element_type: DataType,
    /// Its sizes, those of rows included; -1 where the model leaves one open.
    pub dims: Vec<i64>,
    /// Its sizes in the request that was predicted; what warms the model up.
    pub predicted: Vec<i64>,
}

/// Rows that Triton may put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batching {
    /// The most rows of one run.
    pub rows_max: u64,
    /// Numbers of rows to wait for.
    pub preferred: Vec<u64>,
    /// How long to wait for them.
    pub queue_delay_microseconds: u64,
}

/// Settings of session and arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `enable_mem_pattern`.
    pub mem_pattern: bool,
    /// `arena_extend_strategy` = `kSameAsRequested`.
    pub same_as_requested: bool,
    /// `session.use_device_allocator_for_initializers`.
    pub device_allocator_for_initializers: bool,
    /// `memory.enable_memory_arena_shrinkage` with every run.
    pub shrink_after_run: bool,
    /// `gpu_mem_limit`: what the arena of one instance may take.
    pub gpu_mem_limit: Option<Bytes>,
    /// Graph optimization.
    pub level: Level,
    /// `intra_op_thread_count`; `None` leaves the choice to ONNX Runtime.
    pub intra_op_threads: Option<u32>,
}

/// A model in Triton's repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// The model's name: that of its folder.
    pub name: String,
    /// What to know, one line each, as comments.
    pub comments: Vec<String>,
    /// What runs it.
    pub place: Place,
    /// Sessions side by side on each of these.
    pub n_instances: u64,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// Its outputs.
    pub outputs: Vec<Tensor>,
    /// `None` where rows do not lie along the first axis of every input and output.
    pub batching: Option<Batching>,
    /// Its session.
    pub settings: Settings,
}

/// Why a model cannot be served by Triton.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TritonError {
    /// An element type that Triton has no name for.
    #[error("Triton has no element type for `{name}`, which holds {element_type}")]
    ElementType {
        /// The input or output.
        name: String,
        /// Its element type.
        element_type: DataType,
    },
}

/// The text of `config.pbtxt`.
pub fn model_config(config: &ModelConfig) -> Result<String, TritonError> {
    let mut text = Text::default();
    for comment in &config.comments {
        text.comment(comment);
    }
    text.string("name", &config.name);
    text.string("backend", "onnxruntime");
    text.number("max_batch_size", config.batching.as_ref().map_or(0, |batching| batching.rows_max));
    let has_rows = config.batching.is_some();
    tensors(&mut text, "input", &config.inputs, has_rows)?;
    tensors(&mut text, "output", &config.outputs, has_rows)?;
    text.block("instance_group", |text| {
        text.number("count", config.n_instances);
        match config.place {
            Place::EachGpu => text.word("kind", "KIND_GPU"),
            Place::Gpu(number) => {
                text.word("kind", "KIND_GPU");
                text.number("gpus", u64::from(number));
            }
            Place::Cpu => text.word("kind", "KIND_CPU"),
        }
    });
    if let Some(batching) = &config.batching {
        text.block("dynamic_batching", |text| {
            for rows in &batching.preferred {
                text.number("preferred_batch_size", *rows);
            }
            text.number("max_queue_delay_microseconds", batching.queue_delay_microseconds);
        });
    }
    if let Some(level) = config.settings.level.number() {
        text.block("optimization", |text| text.block("graph", |text| text.word("level", &level.to_string())));
    }
    for (key, value) in parameters(config) {
        text.block("parameters", |text| {
            text.string("key", &key);
            text.block("value", |text| text.string("string_value", &value));
        });
    }
    warm_up(&mut text, config)?;
    Ok(text.finish())
}

/// Inputs or outputs; the axis of rows is Triton's own affair where it batches.
fn tensors(text: &mut Text, key: &str, tensors: &[Tensor], has_rows: bool) -> Result<(), TritonError> {
    for tensor in tensors {
        let element_type = type_name(tensor)?;
        text.block(key, |text| {
            text.string("name", &tensor.name);
            text.word("data_type", element_type);
            let dims = &tensor.dims[usize::from(has_rows).min(tensor.dims.len())..];
            if dims.is_empty() {
                // A list of sizes may not be empty; what has none is reshaped.
                text.numbers("dims", &[1]);
                text.block("reshape", |_| ());
            } else {
                text.numbers("dims", dims);
            }
        });
    }
    Ok(())
}

/// What the backend reads from `parameters`; only what differs from its defaults.
fn parameters(config: &ModelConfig) -> Vec<(String, String)> {
    let settings = &config.settings;
    let is_gpu = config.place != Place::Cpu;
    let mut found: Vec<(&str, String)> = Vec::new();
    if is_gpu && settings.same_as_requested {
        found.push(("arena_extend_strategy", "1".to_owned()));
    }
    if !settings.mem_pattern {
        found.push(("enable_mem_pattern", "0".to_owned()));
    }
    if let Some(limit) = settings.gpu_mem_limit.filter(|_| is_gpu) {
        found.push(("gpu_mem_limit", limit.get().to_string()));
    }
    if let Some(threads) = settings.intra_op_threads {
        found.push(("intra_op_thread_count", threads.to_string()));
    }
    if settings.shrink_after_run {
        let device = match config.place {
            // Each instance shrinks its own; Triton gives no name for "mine".
            Place::EachGpu => "gpu:0".to_owned(),
            Place::Gpu(number) => format!("gpu:{number}"),
            Place::Cpu => "cpu:0".to_owned(),
        };
        found.push(("memory.enable_memory_arena_shrinkage", device));
    }
    if settings.device_allocator_for_initializers {
        found.push(("session.use_device_allocator_for_initializers", "1".to_owned()));
    }
    found.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The largest request once before the model says that it is ready: an instance that the card cannot
/// hold is found at its start, not by a user.
fn warm_up(text: &mut Text, config: &ModelConfig) -> Result<(), TritonError> {
    let is_known = |tensor: &Tensor| tensor.predicted.len() == tensor.dims.len();
    if !config.inputs.iter().all(is_known) {
        return Ok(());
    }
    let has_rows = config.batching.is_some();
    let types: Result<Vec<&str>, TritonError> = config.inputs.iter().map(type_name).collect();
    let types = types?;
    text.block("model_warmup", |text| {
        text.string("name", "largest request");
        if let Some(batching) = &config.batching {
            text.number("batch_size", batching.rows_max);
        }
        for (tensor, element_type) in config.inputs.iter().zip(types) {
            text.block("inputs", |text| {
                text.string("key", &tensor.name);
                text.block("value", |text| {
                    text.word("data_type", element_type);
                    let dims = &tensor.predicted[usize::from(has_rows).min(tensor.predicted.len())..];
                    if dims.is_empty() {
                        text.numbers("dims", &[1]);
                    } else {
                        text.numbers("dims", dims);
                    }
                    text.word("zero_data", "true");
                });
            });
        }
    });
    Ok(())
}

/// Triton's name of an element type (model_config.proto, `DataType`).
fn type_name(tensor: &Tensor) -> Result<&'static str, TritonError> {
    Ok(match tensor.element_type {
        DataType::Bool => "TYPE_BOOL",
        DataType::Uint8 => "TYPE_UINT8",
        DataType::Uint16 => "TYPE_UINT16",
        DataType::Uint32 => "TYPE_UINT32",
        DataType::Uint64 => "TYPE_UINT64",
        DataType::Int8 => "TYPE_INT8",
        DataType::Int16 => "TYPE_INT16",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        DataType::Float16 => "TYPE_FP16",
        DataType::Float => "TYPE_FP32",
        DataType::Double => "TYPE_FP64",
        DataType::Bfloat16 => "TYPE_BF16",
        DataType::String => "TYPE_STRING",
        element_type => return Err(TritonError::ElementType { name: tensor.name.clone(), element_type }),
    })
}

#[cfg(test)]
mod tests;
