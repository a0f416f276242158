//! The settings of a session by ONNX Runtime's names, for reports.

use onnxfit_memory::arena::ArenaExtendStrategy;

use crate::request::{Provider, Request};

/// Every setting that the prediction rests on, defaults included.
pub(crate) fn settings(request: &Request) -> Vec<(String, String)> {
    let on_off = |on: bool| if on { "1" } else { "0" }.to_owned();
    let (provider, limit, extend) = match request.provider {
        Provider::Cpu => ("CPUExecutionProvider", "max_mem (CPU arena)", "arena_extend_strategy (CPU arena)"),
        Provider::Cuda => ("CUDAExecutionProvider", "gpu_mem_limit", "arena_extend_strategy"),
    };
    let extend_strategy = match request.arena_extend_strategy {
        ArenaExtendStrategy::NextPowerOfTwo => "kNextPowerOfTwo",
        ArenaExtendStrategy::SameAsRequested => "kSameAsRequested",
    };
    let size = |set: Option<onnxfit_base::Bytes>, default: &str| {
        set.map_or_else(|| default.to_owned(), |bytes| bytes.get().to_string())
    };
    let rows = [
        ("onnxruntime", request.ort_version.clone()),
        ("provider", provider.to_owned()),
        ("graph_optimization_level", request.optimization.as_str().to_owned()),
        ("enable_mem_pattern", on_off(request.mem_pattern)),
        (limit, request.limit().map_or_else(|| "no limit".to_owned(), |limit| format!("{} ({limit})", limit.get()))),
        (extend, extend_strategy.to_owned()),
        ("initial_chunk_size_bytes", size(request.initial_chunk, "1048576")),
        ("max_dead_bytes_per_chunk", size(request.dead_per_chunk_max, "134217728")),
        ("memory.enable_memory_arena_shrinkage (each run)", on_off(request.shrink_after_run)),
        ("session.use_device_allocator_for_initializers", on_off(request.device_allocator_for_initializers)),
        ("intra_op_num_threads", request.n_threads.to_string()),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).into()
}
