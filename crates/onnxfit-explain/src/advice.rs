//! What to do and what not to expect, as data that causes refer to.
//!
//! What works and what does not is what reports say happened (the facts on fixes), not what is
//! repeated most.

use serde::Serialize;

/// One step to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// A stable id.
    pub id: &'static str,
    /// What to do and why.
    pub text: &'static str,
    /// A command or a setting, ready to paste.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'static str>,
}

/// Advice that will come up and will not help here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotHelping {
    /// A stable id.
    pub id: &'static str,
    /// What people say, and why it does not help here.
    pub text: &'static str,
}

const fn say(id: &'static str, text: &'static str) -> Advice {
    Advice { id, text, command: None }
}

const fn run(id: &'static str, text: &'static str, command: &'static str) -> Advice {
    Advice { id, text, command: Some(command) }
}

const fn not(id: &'static str, text: &'static str) -> NotHelping {
    NotHelping { id, text }
}

pub(crate) const SMALLER_BATCH: Advice = say(
    "smaller_batch",
    "Send fewer rows per run, or shorter ones: cut the batch in chunks and cap the longest input. This is the fix that works most reliably. Count the rows that reach the model: batchers multiply them.",
);
pub(crate) const CHECK_MODEL: Advice = run(
    "check_model",
    "Let onnxfit compute what this model needs at your batch and length, and where the peak is.",
    "onnxfit check MODEL.onnx --on INSTANCE --dim batch=N --dim sequence=N",
);
pub(crate) const FIX_MODEL: Advice = run(
    "fix_model",
    "Let onnxfit make it fit and prove it: session settings, the batch in pieces, half precision.",
    "onnxfit fix MODEL.onnx --on INSTANCE -o fitted",
);
pub(crate) const BIGGER_GPU: Advice = run(
    "bigger_gpu",
    "Pick an instance whose single GPU is large enough: memory of several GPUs does not add up for one session.",
    "onnxfit recommend MODEL.onnx",
);
pub(crate) const RAISE_LIMIT: Advice = run(
    "raise_limit",
    "Raise `gpu_mem_limit` (or the arena's `max_mem`), or leave it out: the limit refused this, whatever the card has free. Look for it in the code that creates the session; an application may set it for you.",
    "providers=[(\"CUDAExecutionProvider\", {\"gpu_mem_limit\": str(8 * 1024**3)})]",
);
pub(crate) const FEWER_THREADS: Advice = say(
    "fewer_threads",
    "Allow fewer runs at once on one card: every thread that runs has its own activations, streams and library handles. Use a queue or a semaphore around `run()`; keep worker threads alive instead of starting one per request.",
);
pub(crate) const SHARE_SESSION: Advice = say(
    "share_session",
    "Use one session for all callers: each session, model instance or worker process has its own weights and its own arena. Fewer instances per GPU, or unload models that are not in use.",
);
pub(crate) const SHRINK_ARENA: Advice = run(
    "shrink_arena",
    "Give memory back after each run through the options of the run, and keep weights out of the arena, else they pin its regions. It costs time in each run and does not help if one run alone is too large.",
    "run_options.add_run_config_entry(\"memory.enable_memory_arena_shrinkage\", \"gpu:0\")\nsession_options.add_session_config_entry(\"session.use_device_allocator_for_initializers\", \"1\")",
);
pub(crate) const RECYCLE: Advice = say(
    "recycle_worker",
    "Create the session again, or recycle the worker process, after the large input. It is slow, and it works.",
);
pub(crate) const WARM_UP_LARGEST: Advice = say(
    "warm_up_largest",
    "Run the largest input first, so that later runs reuse its blocks, and pad inputs to a few fixed lengths: each new shape otherwise takes a new region.",
);
pub(crate) const HEURISTIC_SEARCH: Advice = run(
    "conv_algo_heuristic",
    "Let cuDNN choose by heuristic: an exhaustive search tries algorithms with large workspaces (5.0 GB against 0.6 GB in one measurement). Prefer HEURISTIC to DEFAULT, which can be slow.",
    "providers=[(\"CUDAExecutionProvider\", {\"cudnn_conv_algo_search\": \"HEURISTIC\"})]",
);
pub(crate) const NO_MAX_WORKSPACE: Advice = say(
    "conv_max_workspace_off",
    "With a build for cuDNN 8, `cudnn_conv_use_max_workspace` = \"0\" caps the search workspace at 32 MiB; builds for cuDNN 9 ignore it.",
);
pub(crate) const FREE_THE_CARD: Advice = run(
    "free_the_card",
    "See who holds the card at the moment of failure, and end or move it: another process, a framework that reserves memory in advance, the desktop.",
    "onnxfit watch   # or: nvidia-smi --query-compute-apps=pid,used_memory --format=csv",
);
pub(crate) const LEAVE_HEADROOM: Advice = say(
    "leave_headroom",
    "Leave some hundred megabytes of the card free: the context, library handles and search workspaces lie outside the arena. One worker fewer was enough in a confirmed case.",
);
pub(crate) const RESTART: Advice = say(
    "restart_session",
    "Create the session again: the wrong size is remembered for its input shape and will fail each time.",
);
pub(crate) const MORE_HOST_MEMORY: Advice = say(
    "more_host_memory",
    "Give the process more host memory: the container's limit, the instance, the WebAssembly or Java heap. Loading peaks above the steady state, and a CUDA process holds gigabytes of host memory too.",
);
pub(crate) const CPU_ARENA_OFF: Advice = run(
    "cpu_arena_off",
    "Turn the CPU arena off: tensors go back to the system after use. Some speed is lost on small tensors.",
    "session_options.enable_cpu_mem_arena = False",
);
pub(crate) const EXTERNAL_DATA: Advice = say(
    "external_data",
    "Save the weights as external data: they are then mapped instead of read through one protobuf message.",
);
pub(crate) const SMALLER_WEIGHTS: Advice = say(
    "smaller_weights",
    "Make the weights smaller (fp16, int8, 4 bit) or split the model: ONNX Runtime does not spread one session over several GPUs.",
);
pub(crate) const DEVICE_ALLOCATOR: Advice = run(
    "weights_outside_arena",
    "Keep weights out of the arena: they are then allocated at their exact sizes instead of in doubling regions.",
    "session_options.add_session_config_entry(\"session.use_device_allocator_for_initializers\", \"1\")",
);
pub(crate) const SAME_AS_REQUESTED: Advice = run(
    "same_as_requested",
    "Let the arena grow by what is asked for instead of by doubling. Measure it: for changing shapes it can take more, not less.",
    "providers=[(\"CUDAExecutionProvider\", {\"arena_extend_strategy\": \"kSameAsRequested\"})]",
);
pub(crate) const UPGRADE: Advice = say(
    "upgrade",
    "Use a newer release: since 1.16 one step of growth is capped at 1 GiB, and known leaks of older releases are fixed.",
);
pub(crate) const MEM_PATTERN_OFF: Advice = run(
    "mem_pattern_off",
    "Turn the memory pattern off: from the second run of a shape on it takes one block of the size of the whole run beside what the first run left.",
    "session_options.enable_mem_pattern = False",
);
pub(crate) const CLOSE_OPTIONS: Advice = say(
    "release_before_reload",
    "Release the old session, its options and its environment before the new one is created: else both are there during the change.",
);
pub(crate) const MAX_LENGTH: Advice = say(
    "set_max_length",
    "Set `max_length`: the cache for keys and values is allocated for the model's maximum unless it is told otherwise.",
);
pub(crate) const TRT_WORKSPACE: Advice = run(
    "trt_workspace",
    "Set TensorRT's workspace to what the card has left: larger if a tactic lacks workspace, smaller if the build itself runs out. Build the engine once on an idle card and cache it.",
    "providers=[(\"TensorrtExecutionProvider\", {\"trt_max_workspace_size\": str(2 * 1024**3), \"trt_engine_cache_enable\": True})]",
);
pub(crate) const STAGGER_START: Advice = say(
    "stagger_start",
    "Start the processes one after another: loading peaks above the steady state, and all peaks fell together.",
);
pub(crate) const PINNED: Advice = say(
    "pinned_memory",
    "The output of a copy to the host is pinned host memory, not memory of the card: WSL 2 and containers cap it. Fetch fewer or smaller outputs, or keep them on the device with IO binding.",
);
pub(crate) const SET_AT_CREATION: Advice = run(
    "set_at_creation",
    "Pass the option to the provider when the session is created, and read it back with `session.get_provider_options()`.",
    "onnxfit check MODEL.onnx --session session.json   # names every setting that does nothing",
);
pub(crate) const SEND_LOG: Advice = run(
    "get_full_log",
    "The text ends before the reason. Run again with the whole log on stderr kept, and with the log level at INFO: the arena then prints every growth.",
    "onnxruntime.set_default_logger_severity(1)   # before the first session",
);
pub(crate) const LOOK_AT_CARD: Advice = run(
    "look_at_card",
    "Read the card's memory at the moment of failure, not before the run.",
    "nvidia-smi --query-gpu=memory.used,memory.total --format=csv -l 1",
);
pub(crate) const MATCH_LIBRARIES: Advice = say(
    "match_libraries",
    "Install the CUDA and cuDNN majors that this onnxruntime-gpu was built for (CUDA 11 and cuDNN 8 up to 1.18; CUDA 12 and cuDNN 9 from 1.19; CUDA 13 from 1.27), and make sure that their folder is on the library path. `pip install onnxruntime-gpu[cuda,cudnn]` brings them along.",
);
pub(crate) const GIVE_GPU: Advice = run(
    "give_gpu",
    "Give the process a GPU: `--gpus all` for docker, `nvidia.com/gpu` in the limits of a Kubernetes pod, a driver on the machine.",
    "nvidia-smi",
);
pub(crate) const RIGHT_WHEEL: Advice =
    run("right_wheel", "Use a release that has kernels for this GPU.", "onnxfit recommend MODEL.onnx");
pub(crate) const READ_FIRST_ERROR: Advice = say(
    "read_first_error",
    "Look for an earlier error in the log: after an illegal access every later call fails. With CUDA_LAUNCH_BLOCKING=1 the failing kernel is named.",
);
pub(crate) const KEEP_IO_TYPES: Advice = say(
    "fp16_block_list",
    "Convert again with `keep_io_types=True` and the operator in the block list; the node that is named has inputs of two types.",
);
pub(crate) const GRAPH_OFF: Advice = run(
    "cuda_graph_off",
    "Turn the CUDA graph off, or run the shape twice before capture: no device memory can be allocated while a graph is captured.",
    "providers=[(\"CUDAExecutionProvider\", {\"enable_cuda_graph\": \"0\"})]",
);
pub(crate) const IGNORE: Advice = say(
    "ignore",
    "Nothing has to be done: the engine is built without that tactic. To be quiet about it, lower the workspace.",
);
pub(crate) const UNSET_VARIABLE: Advice =
    say("unset_variable", "Unset CUBLAS_WORKSPACE_CONFIG, or give it a valid value such as `:4096:8`.");
pub(crate) const SERIALIZE_RUNS: Advice = say(
    "serialize_runs",
    "Do not call `run()` from several threads at once on this model: one of its operators shares a handle. Put a lock around the call.",
);
pub(crate) const OTHER_LIMIT: Advice = say(
    "other_framework",
    "The limit or the pool of the other framework is full; raise it there, or give it less so that ONNX Runtime gets more.",
);
pub(crate) const SPLIT_TENSOR: Advice = say(
    "split_tensor",
    "Keep every tensor below 2^31 elements: smaller batch, or split along an axis. Some kernels count in 32 bits.",
);
pub(crate) const OUTPUT_BUFFER: Advice = say(
    "output_buffer",
    "Allocate the output buffer for the shape that this input gives, or let the runtime allocate it.",
);
pub(crate) const SHRINK_PLACE: Advice = run(
    "shrink_in_run_options",
    "The key belongs to the options of the run, its value is a list of devices that this session uses (not \"1\"), and DirectML has no arena to shrink.",
    "run_options.add_run_config_entry(\"memory.enable_memory_arena_shrinkage\", \"gpu:0\")",
);
pub(crate) const INIT_STRUCT: Advice = say(
    "init_struct",
    "Create the options with `CreateCUDAProviderOptions` (V2), or set every field: an uninitialised struct holds any limit.",
);
pub(crate) const CHECK_SHAPES: Advice =
    say("check_shapes", "Compare the shapes and types of your inputs with `session.get_inputs()`.");

pub(crate) const NOT_SAME_AS_REQUESTED: NotHelping = not(
    "same_as_requested",
    "`arena_extend_strategy=kSameAsRequested`: on refusal the arena already retries down to the size that was asked for, so it cannot help when that size alone does not fit.",
);
pub(crate) const NOT_EMPTY_CACHE: NotHelping =
    not("empty_cache", "`torch.cuda.empty_cache()`: it frees PyTorch's pool, never the arena of ONNX Runtime.");
pub(crate) const NOT_BIGGER_CARD: NotHelping =
    not("bigger_card", "A bigger card: the limit would refuse the same request there.");
pub(crate) const NOT_LOWER_LIMIT: NotHelping = not(
    "lower_limit",
    "A lower `gpu_mem_limit`: it does not lower the need, it only turns this message into another one.",
);
pub(crate) const NOT_INTRA_OP: NotHelping = not(
    "intra_op_threads",
    "`intra_op_num_threads` and `inter_op_num_threads`: they do not limit how many runs are on the card.",
);
pub(crate) const NOT_SHRINKAGE: NotHelping =
    not("arena_shrinkage", "Arena shrinkage: it gives memory back after a run, and this run alone is too large.");
pub(crate) const NOT_GPU: NotHelping = not("bigger_gpu", "A bigger GPU or `gpu_mem_limit`: this is host memory.");
pub(crate) const NOT_MORE_MEMORY: NotHelping =
    not("more_memory", "More memory or a smaller batch: no memory was short.");
pub(crate) const NOT_SHM: NotHelping =
    not("shm_size", "`--shm-size` or jemalloc: neither touches the arena of the GPU.");
pub(crate) const NOT_SMALLER_BATCH: NotHelping =
    not("smaller_batch", "A smaller batch: weights, contexts and other sessions hold the memory, not the rows.");
