//! The options that exist, by place (ORT 1.31: session and run config keys, CUDA and TensorRT
//! provider options), and the nearest to one that does not.

/// Attributes of `SessionOptions`.
pub(super) const SESSION_ATTRIBUTES: &[&str] = &[
    "enable_cpu_mem_arena",
    "enable_mem_pattern",
    "enable_mem_reuse",
    "enable_profiling",
    "execution_mode",
    "execution_order",
    "graph_optimization_level",
    "inter_op_num_threads",
    "intra_op_num_threads",
    "log_severity_level",
    "log_verbosity_level",
    "logid",
    "optimized_model_filepath",
    "profile_file_prefix",
    "use_deterministic_compute",
    "use_per_session_threads",
    "add_free_dimension_override_by_name",
    "add_free_dimension_override_by_denotation",
];

/// Attributes of `RunOptions`.
pub(super) const RUN_ATTRIBUTES: &[&str] = &[
    "log_severity_level",
    "log_verbosity_level",
    "logid",
    "only_execute_path_to_fetches",
    "terminate",
    "training_mode",
];

/// Keys of run config entries.
pub(super) const RUN_ENTRIES: &[&str] = &[
    "memory.enable_memory_arena_shrinkage",
    "disable_synchronize_execution_providers",
    "gpu_graph_id",
    "qnn.htp_perf_mode",
    "qnn.htp_perf_mode_post_run",
    "qnn.lora_config",
    "qnn.rpc_control_latency",
    "enable_profiling",
    "profile_file_prefix",
];

/// Keys of session config entries.
pub(super) const SESSION_ENTRIES: &[&str] = &[
    "ep.context_enable",
    "ep.context_embed_mode",
    "ep.context_file_path",
    "ep.context_node_name_prefix",
    "ep.share_ep_contexts",
    "ep.stop_share_ep_contexts",
    "ep.nnapi.partitioning_stop_ops",
    "ep.dml.enable_graph_serialization",
    "ep.dml.disable_graph_fusion",
    "ep.context_model_external_initializers_file_name",
    "mlas.disable_kleidiai",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
    "mlas.use_lut_gemm",
    "optimization.constant_folding_max_output_size_in_bytes",
    "optimization.disable_specified_optimizers",
    "optimization.enable_cast_chain_elimination",
    "optimization.enable_gelu_approximation",
    "optimization.enable_memory_probe_recompute_config",
    "optimization.memory_optimizer_config",
    "optimization.minimal_build_optimizations",
    "session.allow_released_opsets_only",
    "session.collect_node_memory_stats_to_file",
    "session.debug_layout_transformation",
    "session.disable_aot_function_inlining",
    "session.disable_cpu_ep_fallback",
    "session.disable_double_qdq_remover",
    "session.disable_model_compile",
    "session.disable_prepacking",
    "session.disable_qdq_constant_folding",
    "session.disable_quant_qdq",
    "session.dynamic_block_base",
    "session.enable_cpu_mem_arena",
    "session.enable_dq_matmulnbits_fusion",
    "session.enable_mem_pattern",
    "session.enable_profiling",
    "session.enable_quant_qdq_cleanup",
    "session.enable_saved_runtime_optimizations",
    "session.execution_mode",
    "session.force_spinning_stop",
    "session.graph_optimization_level",
    "session.graph_optimizations_loop_level",
    "session.inter_op.allow_spinning",
    "session.intra_op.allow_spinning",
    "session.inter_op_num_threads",
    "session.intra_op_num_threads",
    "session.intra_op_thread_affinities",
    "session.layer_assignment_settings",
    "session.load_model_format",
    "session.log_id",
    "session.log_severity_level",
    "session.log_verbosity_level",
    "session.max_shape_override",
    "session.model_external_initializers_file_folder_path",
    "session.name_based_layer_assignment",
    "session.node_partition_config_file",
    "session.optimized_model_external_initializers_file_name",
    "session.optimized_model_external_initializers_min_size_in_bytes",
    "session.optimized_model_filepath",
    "session.prepack.enable_parallel",
    "session.qdq_matmulnbits_accuracy_level",
    "session.qdq_matmulnbits_block_size",
    "session.qdqisint8allowed",
    "session.record_ep_graph_assignment_info",
    "session.resource_cuda_partitioning_settings",
    "session.save_external_prepacked_constant_initializers",
    "session.save_model_format",
    "session.set_denormal_as_zero",
    "session.strict_shape_type_inference",
    "session.strict_workspace_verification",
    "session.use_deterministic_compute",
    "session.use_device_allocator_for_initializers",
    "session.use_env_allocators",
    "session.use_external_initializer_file_buffers_directly",
    "session.use_memory_mapped_ort_model",
    "session.use_ort_model_bytes_directly",
    "session.use_ort_model_bytes_for_initializers",
    "session.use_per_session_threads",
    "session.x64quantprecision",
];

/// Options of the CUDA provider.
pub(super) const CUDA_OPTIONS: &[&str] = &[
    "device_id",
    "has_user_compute_stream",
    "user_compute_stream",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "do_copy_in_default_stream",
    "gpu_external_alloc",
    "gpu_external_free",
    "gpu_external_empty_cache",
    "cudnn_conv_use_max_workspace",
    "enable_cuda_graph",
    "cudnn_conv1d_pad_to_nc1d",
    "enable_cudnn",
    "tunable_op_enable",
    "tunable_op_tuning_enable",
    "tunable_op_max_tuning_duration_ms",
    "enable_skip_layer_norm_strict_mode",
    "prefer_nhwc",
    "use_ep_level_unified_stream",
    "use_tf32",
    "fuse_conv_bias",
    "sdpa_kernel",
    "default_memory_arena_cfg",
];

/// Settings of an arena (`OrtArenaCfg`, and `arena.` options of the plugin provider).
pub(super) const ARENA_OPTIONS: &[&str] = &[
    "max_mem",
    "initial_chunk_size_bytes",
    "max_dead_bytes_per_chunk",
    "initial_growth_chunk_size_bytes",
    "max_power_of_two_extend_bytes",
    "use_cuda_mempool",
    "cuda_mempool_release_threshold",
    "cuda_mempool_bytes_to_keep_on_shrink",
    "arena_extend_strategy",
];

/// Names that options had before.
pub(super) const OLD_NAMES: &[(&str, &str)] =
    &[("cuda_mem_limit", "gpu_mem_limit"), ("hip_mem_limit", "gpu_mem_limit")];

const VARIABLES: &[&str] = &[
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "TF_FORCE_GPU_ALLOW_GROWTH",
];

/// Whether this is an option of the CUDA or TensorRT provider, or of an arena.
pub(super) fn is_provider_option(key: &str) -> bool {
    CUDA_OPTIONS.contains(&key) && key != "device_id"
        || ARENA_OPTIONS.contains(&key)
        || key.starts_with("trt_")
        || key.starts_with("arena.")
}

/// Whether an option had this name once.
pub(super) fn is_old_name(key: &str) -> bool {
    OLD_NAMES.iter().any(|(old, _)| *old == key)
}

/// Whether this is a variable that the runtime or a framework beside it reads.
pub(super) fn is_variable(key: &str) -> bool {
    VARIABLES.contains(&key)
}

/// The option that a variable of this name (in lower case) is meant to be.
pub(super) fn option_in_disguise(lower: &str) -> Option<&'static str> {
    let tail = |option: &&&str| lower == **option || lower.ends_with(&format!("_{option}"));
    let long = |option: &&&str| option.len() > 9;
    let options = CUDA_OPTIONS.iter().chain(OLD_NAMES.iter().map(|(old, _)| old)).chain(SESSION_ATTRIBUTES);
    // Threads can be set by the environment (ORT_INTRA_OP_NUM_THREADS).
    options.filter(long).find(tail).copied().filter(|option| !option.ends_with("num_threads"))
}

/// The known key nearest to one that is not known; nothing if none is near.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (distance(key, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    (distance <= 2 + key.len() / 5).then_some(candidate)
}

/// Edits between two keys (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
