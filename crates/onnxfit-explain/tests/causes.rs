//! Every cause can be the first one: a text for each, written for this test.

use std::collections::BTreeSet;

use onnxfit_explain::{Context, DimHint, ModelHints, TensorHint, cause_ids, explain, explain_with};

const EXAMPLES: &[(&str, &str)] = &[
    ("memory_limit_too_low", "Available memory of 4096 is smaller than requested bytes of 5505024"),
    (
        "memory_limit_too_low",
        "the gpu_mem_limit of the application is too low, requested bytes are refused while nvidia-smi shows 60 GB free; limit is hard-coded",
    ),
    (
        "size_computation_garbage",
        "Non-zero status code returned while running Conv node. Name:'c1' Status Message: safeint.h:17 SafeIntExceptionHandler::SafeIntOnOverflow() Integer overflow",
    ),
    ("host_ram", "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc"),
    ("host_ram", "State: Terminated\n Reason: OOMKilled\n Exit Code: 137"),
    (
        "host_ram",
        "java.lang.OutOfMemoryError: Failed to allocate a 268435472 byte allocation with 25165824 free bytes and 190MB until OOM",
    ),
    ("host_ram", "Uncaught (in promise) RangeError: Array buffer allocation failed"),
    ("host_ram", "RSS of the service climbs from 2 GB to 14 GB while loading the model"),
    (
        "batch_too_large",
        "Non-zero status code returned while running Softmax node. Name:'/layer.3/attention/self/Softmax' Status Message: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 3221225472",
    ),
    ("batch_too_large", "GPU memory scales with the batch; reducing the batch from 64 to 16 fixes the OOM"),
    ("single_tensor_too_large", "Failed to allocate memory for requested buffer of size 6442450944"),
    (
        "too_many_threads",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; expr=cublasCreate(&handle);",
    ),
    ("too_many_threads", "with 3 concurrent threads it works, with 4 the GPU is out of memory"),
    ("multiple_sessions", "each model instance takes 3 GB of GPU memory, four instances do not fit"),
    ("multiple_sessions", "2026-01-01 [W] InvokeEndpoint failed: HTTP 507"),
    (
        "multiple_processes_startup_spike",
        "8 gunicorn workers load the model at the same time when they start and the GPU runs out of memory; staggering helps",
    ),
    ("other_process_holds_memory", "another process is using most of the GPU, so ours gets out of memory"),
    (
        "weights_exceed_vram",
        "Exception during initialization: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 268435456",
    ),
    (
        "conv_workspace",
        "CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=a ; expr=cudnnFindConvolutionForwardAlgorithmEx(handle, max_ws_size);",
    ),
    (
        "conv_workspace",
        "Non-zero status code returned while running Conv node. Name:'c' Status Message: CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);",
    ),
    ("conv_workspace", "cudnn_conv_algo_search EXHAUSTIVE takes 4 GB more GPU memory than heuristic"),
    (
        "arena_never_shrinks",
        "GPU memory is not released after a large request, it stays allocated until the process ends",
    ),
    ("arena_growth_power_of_two", "kNextPowerOfTwo takes 32 GB when 17 GB would do"),
    ("arena_growth_power_of_two", "my onnx model is 400 MB and onnxruntime uses 2100 MB of GPU memory"),
    ("cuda_context_overhead", "a 70KB model needs 376MB of CUDA memory"),
    ("dynamic_shape_fragmentation", "GPU memory keeps growing with images of different sizes"),
    (
        "mem_pattern_doubling",
        "the first image runs fine and the second run of the same session is out of memory on the GPU",
    ),
    ("session_reload_leak", "GPU memory rises with every reload of the model"),
    ("runtime_leak_bug", "GPU memory leak since upgrading to 1.8.0, it did not happen in 1.7"),
    (
        "kv_cache_max_length",
        "onnxruntime-genai: Failed to allocate memory for requested buffer of size 17179869184, unless max_length is set",
    ),
    (
        "pinned_or_host_copy",
        "Non-zero status code returned while running MemcpyToHost node. Name:'Memcpy' Status Message: Failed to allocate memory for requested buffer of size 1497600000",
    ),
    (
        "trt_workspace",
        "[E] 4: [optimizer.cpp::computeCosts::3726] Error Code 4: Internal Error (Could not find any implementation for node {ForeignNode[a...b]} due to insufficient workspace.)",
    ),
    ("misconfigured_options", "session_options.add_session_config_entry(\"gpu_mem_limit\", \"2147483648\")"),
    ("same_as_requested_no_reuse", "with arena_extend_strategy kSameAsRequested memory grows to 24 GB instead of 4 GB"),
    (
        "unknown_vram_exhausted",
        "Non-zero status code returned while running Clip node. Name:'p' Status Message: Failed to allocate memory for requested buffer of size 44433408",
    ),
    (
        "ambiguous_not_initialized",
        "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0 ; hostname=a ; expr=cudnnCreate(&cudnn_handle_);",
    ),
    (
        "ambiguous_cudnn_execution",
        "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=a ; expr=cudnnConvolutionForward(handle, workspace.get());",
    ),
    ("unknown_init_failure", "terminate called after throwing an instance of 'Ort::Exception'\nwh"),
    (
        "not_oom_cuda_ep_load_failed",
        "[ONNXRuntimeError] : 1 : FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot open shared object file: No such file or directory",
    ),
    (
        "not_oom_cudnn_version_mismatch",
        "CUDNN failure 1004: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH ; GPU=0 ; hostname=a ; expr=cudnnCreate(&handle);",
    ),
    (
        "not_oom_illegal_memory_access",
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a ; expr=cudaStreamSynchronize(s);",
    ),
    (
        "not_oom_driver_or_arch",
        "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=32712 ; hostname=a ; expr=cudaSetDevice(id);",
    ),
    (
        "not_oom_no_kernel_image",
        "CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available for execution on the device",
    ),
    (
        "not_oom_no_device",
        "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1594703432 ; hostname=a ; expr=cudaSetDevice(id);",
    ),
    (
        "not_oom_fp16_type_mismatch",
        "Load model from m.onnx failed:Type Error: Type parameter (T) of Optype (Mul) bound to different types (tensor(float16) and tensor(float) in node (Mul_7).",
    ),
    ("not_oom_protobuf_2gb", "onnx.ModelProto exceeds maximum protobuf size of 2GB: 2410065408"),
    ("not_oom_io_buffer_size", "onnx runtime error 2: not enough space: expected 318080, got 314240"),
    (
        "not_oom_shape_validation",
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for the following indices index: 0 Got: 2 Expected: 1",
    ),
    (
        "not_oom_lambda_arm_cpuinfo",
        "Error in cpuinfo: failed to parse the list of possible processors in /sys/devices/system/cpu/possible",
    ),
    ("not_oom_int32_kernel_overflow", "the kernel overflows int32 for more than 2^31 elements"),
    (
        "not_oom_shrink_config",
        "Did not find an arena based allocator registered for device-id  combination in the memory arena shrink list: gpu:0",
    ),
    (
        "not_oom_cuda_graph_capture",
        "CUDA failure 900: operation not permitted when stream is capturing ; GPU=0 ; hostname=a ; expr=cudaMalloc(&p, size);",
    ),
    (
        "not_oom_env_var",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; expr=cublasCreate(&h);\nunset CUBLAS_WORKSPACE_CONFIG and it works",
    ),
    ("not_oom_uninitialised_options", "OrtCUDAProviderOptions was not initialized, after memset to zero it works"),
    (
        "not_oom_benign_trt_tactic_skip",
        "[TRT] [W] Requested amount of GPU memory (17179869184 bytes) could not be allocated. There may not be enough free memory for allocation to succeed.",
    ),
    (
        "not_oom_thread_unsafe_kernel",
        "Non-zero status code returned while running BeamSearch node. Name:'b' Status Message: Non-zero status code returned while running MatMul node. Name:'m' Status Message: CUBLAS failure 14: CUBLAS_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=a ; expr=cublasGemmHelper(h)",
    ),
    ("not_oom_other_framework_limit", "tensorflow/core/common_runtime/bfc_allocator.cc:491] *****xxxx"),
    (
        "other_framework_oom",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 14.76 GiB total capacity)",
    ),
    (
        "other_process_holds_memory",
        "Exception during initialization: cuda_call.cc:129 onnxruntime::CudaCall CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; expr=cublasCreate(&handle);",
    ),
    ("host_ram", "the service keeps 3 GB in RAM after Dispose, although the GPU is empty again"),
    ("host_ram", "loading from a byte array raises the peak working set by the size of the model"),
    ("host_ram", "our indexer was OOM-killed (exec_die 137) on a VM of 2 GB"),
    (
        "host_ram",
        "ORT Web with a 1.2 GB model: Uncaught (in promise) RuntimeError: Aborted(). Build with -sASSERTIONS for more info.",
    ),
    ("host_ram", "onnxruntime-web: Uncaught (in promise) 73412880"),
    ("host_ram", "in the browser I only get an error that is a number, 194837264"),
    (
        "dynamic_shape_fragmentation",
        "with shapes that are not fixed the memory of the process grows; with one shape it does not",
    ),
    (
        "cuda_context_overhead",
        "after ReleaseSession and ReleaseEnv 6% of the GPU memory stays taken until the exe ends",
    ),
    ("multiple_sessions", "5 small models in 5 processes fill the GPU"),
    ("conv_workspace", "choosing among cudnn convolution algorithms takes 6 GB of GPU memory at the first run"),
    ("not_oom_cuda_ep_load_failed", "Loadlibrary failed with error 126 for onnxruntime_providers_cuda.dll"),
    ("not_oom_cuda_ep_load_failed", "EP Error CUDA_PATH is set but CUDA wasn't able to be loaded."),
    ("not_oom_cuda_ep_load_failed", "it silently falls back to CPUExecutionProvider with this driver"),
    ("other_framework_oom", "RuntimeError: CUDA failed with error out of memory"),
    (
        "other_framework_oom",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate",
    ),
    ("not_oom_cuda_ep_load_failed", "it runs on the CPU and never uses the GPU"),
    ("arena_never_shrinks", "the service's VRAM never comes back down after a burst of requests"),
    ("dynamic_shape_fragmentation", "GPU memory of the worker grows steadily, page by page"),
    ("other_framework_oom", "CUDA error: out of memory\n  current device: 1, in function alloc at ggml-cuda.cu:1"),
    ("host_ram", "System.OutOfMemoryException\n  HResult=0x8007000E\n   at Reader.ReadAll()"),
    ("host_ram", "the container is limited to 4 GB and gets killed while the model loads"),
    ("not_oom_illegal_memory_access", "my title: CUDA failure 700 while running the model"),
    ("not_oom_illegal_memory_access", "malloc(): invalid size (unsorted)"),
    ("not_oom_driver_or_arch", "\"CUDA driver version is insufficent for CUDA runtime version\" is raised"),
    (
        "not_oom_cudnn_version_mismatch",
        "CUDNN failure 3: CUDNN_STATUS_BAD_PARAM ; GPU=0 ; hostname=a ; expr=cudnnAddTensor(handle, &alpha);",
    ),
    ("ambiguous_not_initialized", "Could not create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED"),
    (
        "other_framework_oom",
        "failed to allocate 2.00G (2147483648 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ),
    (
        "not_oom_fp16_type_mismatch",
        "Type parameter (T) of Optype (Add) bound to different types (tensor(float16) and tensor(float) in node (Add_2).",
    ),
    ("not_oom_fp16_type_mismatch", "Unexpected input data type. Actual: (tensor(float)) , expected: (tensor(float16))"),
    (
        "not_oom_shape_validation",
        "Non-zero status code returned while running GroupQueryAttention node. Name:'/attn' Status Message: cos_cache dimension 0 must be at least the total length, expected 4096",
    ),
    (
        "not_oom_uninitialised_options",
        "provider_options_utils.h:31 EnumToName Failed to map enum value to name: 4147200",
    ),
    ("not_oom_thread_unsafe_kernel", "parallel execution on CUDA ends in a segmentation fault"),
    ("not_oom_no_device", "on a machine with no GPU the service crashes inside libonnxruntime_providers_cuda"),
    (
        "trt_workspace",
        "Could not find any implementation for node conv1.\nThe log before it says that tactics were skipped: out of memory",
    ),
    ("multiple_sessions", "GPU is out of memory; I was loading the model twice by mistake"),
    ("session_reload_leak", "GPU memory leak when loading a model fails and is tried again"),
    ("unknown_vram_exhausted", "hip.cpp:109: allocate_gpu: Memory not available to allocate buffer: 251658240"),
    ("arena_never_shrinks", "推理之后显存无法释放"),
    (
        "unknown_vram_exhausted",
        "F a i l e d   t o   a l l o c a t e   m e m o r y   f o r   r e q u e s t e d   b u f f e r   o f   s i z e   4 4 4 3 3 4 0 8",
    ),
];

#[test]
fn every_cause_can_come_first() {
    let mut wrong = String::new();
    for (cause, text) in EXAMPLES {
        let explanation = explain(text.as_bytes());
        let top = explanation.causes.first().map_or("nothing", |cause| cause.id);
        if top != *cause {
            wrong += &format!("{cause}: got {top}\n  {text}\n");
        }
        if let Some(first) = explanation.causes.first() {
            assert!(!first.evidence.is_empty(), "{cause} has no evidence");
            assert!(!explanation.advice.is_empty(), "{cause} has no advice");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let shown: BTreeSet<&str> = EXAMPLES.iter().map(|(cause, _)| *cause).collect();
    let missing: Vec<&str> = cause_ids().filter(|id| !shown.contains(id)).collect();
    assert!(missing.is_empty(), "no example for {missing:?}");
}

#[test]
fn never_blames_the_card_for_a_limit() {
    let explanation = explain(EXAMPLES[0].1.as_bytes());
    assert_eq!(explanation.memory, onnxfit_explain::Memory::ArenaLimit);
    assert!(explanation.advice.first().is_some_and(|advice| advice.id == "raise_limit"));
    assert!(explanation.not_helping.iter().any(|advice| advice.id == "bigger_card"));
}

#[test]
fn knows_an_application_that_limits_the_arena_itself() {
    let cut = "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxrun";
    let top = |log: &str| explain(log.as_bytes()).causes.first().map(|cause| cause.id);
    assert_eq!(
        top(&format!("09:11:02 [ERROR][Exception]: while running Conv node. {cut}")),
        Some("memory_limit_too_low")
    );
    // Of another program nobody knows which of the two refusals was cut off, and a refusal of the card is one.
    assert_eq!(top(&format!("while running Conv node. {cut}")), Some("unknown_vram_exhausted"));
    let card = "09:11:02 [ERROR][Exception]: Failed to allocate memory for requested buffer of size 44433408";
    assert_ne!(top(card), Some("memory_limit_too_low"));
}

#[test]
fn keeps_an_earlier_refusal_when_a_later_call_fails_otherwise() {
    let log = "Failed to allocate memory for requested buffer of size 6442450944\nCUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a ; expr=x;";
    let explanation = explain(log.as_bytes());
    assert_eq!(explanation.is_oom, Some(true));
    assert_eq!(explanation.form, "bfc_failed_to_allocate");
}

#[test]
fn does_not_trust_a_device_index_that_nobody_set() {
    let index = |gpu: &str| {
        let log = format!("CUDA failure 100: no CUDA-capable device is detected ; GPU={gpu} ; hostname=a ; expr=x;");
        explain(log.as_bytes()).device_index
    };
    assert_eq!(index("5"), Some(5));
    assert_eq!(index("32712"), None);
    assert_eq!(index("-1594703432"), None);
}

#[test]
fn names_host_instance_release_and_provider() {
    let log = "endpoint on ml.g4dn.xlarge, onnxruntime-gpu==1.18.1\nCUDA failure 2: out of memory ; GPU=0 ; hostname=ip-172-31-31-23 ; expr=cudaMalloc(&p, n);\n/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:368 x";
    let explanation = explain(log.as_bytes());
    assert_eq!(explanation.host.as_deref(), Some("ip-172-31-31-23"));
    assert_eq!(explanation.instance_types, ["ml.g4dn.xlarge"]);
    assert_eq!(explanation.provider, Some("CUDA"));
    assert_eq!(
        explanation.releases,
        ["ONNX Runtime 1.18.1 (stated)", "ONNX Runtime 1.14 to 1.15 (by bfc_arena.cc:368)"]
    );
}

#[test]
fn takes_the_innermost_of_nested_nodes() {
    let log = "Non-zero status code returned while running Loop node. Name:'' Status Message: Non-zero status code returned while running Add node. Name:'inner/Add' Status Message: Failed to allocate memory for requested buffer of size 1024";
    let explanation = explain(log.as_bytes());
    assert_eq!(explanation.node.as_deref(), Some("inner/Add"));
    assert_eq!(explanation.op_type.as_deref(), Some("Add"));
}

#[test]
fn reads_the_size_with_the_model() {
    let model = ModelHints {
        tensors: vec![TensorHint {
            name: "scores".to_owned(),
            node: Some("/attn/Add".to_owned()),
            op_type: Some("Add".to_owned()),
            dims: vec![
                DimHint::Named("batch".to_owned()),
                DimHint::Known(16),
                DimHint::Named("length".to_owned()),
                DimHint::Named("length".to_owned()),
            ],
            element_bytes: 4,
        }],
        weights_bytes: onnxfit_base::Bytes::gib(1),
    };
    let log = "Non-zero status code returned while running Add node. Name:'/attn/Add' Status Message: Failed to allocate memory for requested buffer of size 8388608000";
    let context = Context { model: Some(&model), memory_bytes: Some(onnxfit_base::Bytes::gib(4)), options: None };
    let explanation = explain_with(log.as_bytes(), &context);
    assert_eq!(explanation.readings[0].product, "500 x 16 x 512^2 x 4");
    assert_eq!(explanation.causes[0].id, "single_tensor_too_large");
}

#[test]
fn reads_text_of_two_bytes_a_character_at_any_length() {
    let mut log = "nothing to see here\n".repeat(20_000);
    log += "Failed to allocate memory for requested buffer of size 44433408\n";
    let wide: Vec<u8> = log.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let explanation = explain(&wide);
    assert_eq!(explanation.is_oom, Some(true));
    assert_eq!(explanation.requested_bytes, Some(onnxfit_base::Bytes(44_433_408)));
}

#[test]
fn does_not_take_a_slow_worker_for_a_full_machine() {
    let slow = "[CRITICAL] WORKER TIMEOUT (pid:7)\n[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?";
    assert_eq!(explain(slow.as_bytes()).is_oom, None);
    let killed = "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?";
    assert_eq!(explain(killed.as_bytes()).is_oom, Some(true));
}

#[test]
fn calls_no_projection_attention_scores() {
    let text = |node: &str| {
        format!(
            "Non-zero status code returned while running MatMul node. Name:'{node}' Status Message: Failed to allocate memory for requested buffer of size 805306368"
        )
    };
    let says_scores = |node: &str| {
        let causes = explain(text(node).as_bytes()).causes;
        causes.iter().any(|cause| cause.evidence.iter().any(|line| line.contains("attention scores")))
    };
    assert!(says_scores("/layer.0/attention/MatMul"));
    assert!(!says_scores("/layer.0/attention/k_lin/MatMul"));
}

#[test]
fn reads_words_and_not_parts_of_words() {
    let regressor = "An 80MB RandomForestRegressor takes 1.4GB; memory usage stays at 900MB.";
    assert!(explain(regressor.as_bytes()).causes.iter().all(|cause| cause.id != "runtime_leak_bug"));
    let changed = "How can I release the arena's GPU memory? I have changed the options in every way.";
    assert!(explain(changed.as_bytes()).causes.iter().all(|cause| cause.id != "not_oom_shrink_config"));
    let free = "Before I load a 3.4 GB model to the GPU there are 7 GB free memory, then it is out of memory.";
    assert_eq!(explain(free.as_bytes()).causes[0].id, "weights_exceed_vram");
}

#[test]
fn reads_a_title_that_was_cut_in_the_middle_of_the_message() {
    let cut = "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to alloc\nmy 16 GB cannot run this";
    assert_eq!(explain(cut.as_bytes()).form, "bfc_cut");
    let wrapped = "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to\nallocate memory for requested buffer of size 1024";
    assert_eq!(explain(wrapped.as_bytes()).requested_bytes.map(|bytes| bytes.get()), Some(1024));
}

#[test]
fn tells_models_that_share_a_card_from_a_tensor_that_is_too_large() {
    let shared = "onnx runtime error 6: Non-zero status code returned while running Mul node. Name:'Mul_1' Status Message: bfc_arena.cc:368 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 2830172160\nThere are 7 other models hosted on the same server.";
    assert_eq!(explain(shared.as_bytes()).causes[0].id, "multiple_sessions");
}

#[test]
fn knows_an_option_that_the_release_does_not_have() {
    let unknown = "[ONNXRuntimeError] : 1 : FAIL : provider_options_utils.h:148 Parse Unknown provider option: \"cuda_mem_limit\".";
    let explanation = explain(unknown.as_bytes());
    assert_eq!((explanation.causes[0].id, explanation.is_oom), ("misconfigured_options", Some(false)));
}
