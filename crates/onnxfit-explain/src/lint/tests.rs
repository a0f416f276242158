use expect_test::{Expect, expect};

use super::lint_options;

fn check(text: &str, expected: Expect) {
    let findings: String = lint_options(text)
        .iter()
        .map(|finding| format!("{}[{}] {}\n", finding.severity.as_str(), finding.id, finding.message))
        .collect();
    expected.assert_eq(&findings);
}

#[test]
fn finds_what_sits_in_the_wrong_place_in_python() {
    check(
        r#"
so = ort.SessionOptions()
so.enable_fp16 = True
so.enable_mem_pattern = False
so.gpu_mem_limit = 2 * 1024 ** 3
so.add_session_config_entry("memory.enable_memory_arena_shrinkage", "1")
so.add_session_config_entry("session.use_env_alocators", "1")
providers = [("CUDAExecutionProvider", {"device_id": 0, "cuda_mem_limit": 2147483648, "arena_extend_strategy": "kSameAsRequested"})]
"#,
        expect![[r#"
            warning[no-such-option] `enable_fp16` is no option of ONNX Runtime: it is not read, or raises an error
            warning[wrong-place] `gpu_mem_limit` as an attribute of the session options does nothing: it is an option of the provider
            warning[wrong-place] `memory.enable_memory_arena_shrinkage` as a session config entry is accepted and ignored: it is an option of a run
            warning[bad-value] `memory.enable_memory_arena_shrinkage` is "1"; it wants a list of devices, in lower case and without spaces
            warning[unknown-key] `session.use_env_alocators` is not known as a session config entry: it is stored and never read, or refused
            warning[renamed-option] `cuda_mem_limit` was renamed to `gpu_mem_limit` (between 1.6 and 1.8)
            note[folklore] `kSameAsRequested` is the most repeated advice with the weakest evidence: no effect in several reports, 4.4 GB became 24 GB in one with changing shapes
        "#]],
    );
}

#[test]
fn is_silent_about_options_that_are_right() {
    check(
        r#"
so = ort.SessionOptions()
so.enable_cpu_mem_arena = False
so.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
ro.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0")
providers = [("CUDAExecutionProvider", {"device_id": 0, "cudnn_conv_algo_search": "HEURISTIC"})]
"#,
        expect![[r#""#]],
    );
}

#[test]
fn reads_json_of_a_session() {
    check(
        r#"{"provider": "CUDAExecutionProvider",
 "provider_options": {"gpu_mem_limt": "4000000000", "cudnn_conv_use_max_workspace": "0"},
 "session_options": {"enable_cuda_graph": "1", "intra_op_num_threads": 2},
 "run_options": {"memory.enable_memory_arena_shrinkage": "GPU:0"}}"#,
        expect![[r#"
            warning[unknown-key] `gpu_mem_limt` is not known as a provider option: it is stored and never read, or refused
            note[no-effect-cudnn-9] `cudnn_conv_use_max_workspace` has no effect in builds for cuDNN 9 (1.19 and later)
            warning[wrong-place] `enable_cuda_graph` as an attribute of the session options does nothing: it is an option of the provider
            warning[bad-value] `memory.enable_memory_arena_shrinkage` is "GPU:0"; it wants a list of devices, in lower case and without spaces
        "#]],
    );
}

#[test]
fn reads_environment_lines_triton_and_cpp() {
    check(
        "export ORT_CUDA_GPU_MEM_LIMIT=4294967296\nexport CUDA_VISIBLE_DEVICES=0\n",
        expect![[r#"
        warning[not-a-variable] ONNX Runtime reads no environment variable `ORT_CUDA_GPU_MEM_LIMIT`; `gpu_mem_limit` is an option
    "#]],
    );
    check(
        "parameters { key: \"gpu_mem_limit\" value: { string_value: \"1500000000\" } }\nparameters { key: \"memory.enable_memory_arena_shrinkage\" value: { string_value: \"gpu:0\" } }",
        expect![[r#"
            note[arena-limit-only] `gpu_mem_limit` (1.40 GiB) limits the arena only: context, library handles and reserved workspaces come on top, and it does not lower what the model needs
        "#]],
    );
    check(
        "OrtCUDAProviderOptions options;\noptions.device_id = 0;\nsession_options.AddConfigEntry(\"gpu_mem_limit\", \"1000000000\");",
        expect![[r#"
            warning[wrong-place] `gpu_mem_limit` as a session config entry does nothing: it is an option of the provider
            warning[uninitialised-struct] `OrtCUDAProviderOptions` is declared without values: in C its limit is whatever was in memory
        "#]],
    );
}

#[test]
fn sees_that_a_changed_copy_changes_nothing() {
    check(
        "options = session.get_provider_options()\noptions['CUDAExecutionProvider']['gpu_mem_limit'] = 1 << 30\noption[\"cuda_mem_limit\"] = 900 * 1024 * 1024",
        expect![[r#"
            warning[changed-copy] `gpu_mem_limit` is set in what `get_provider_options()` returned: that is a copy, the session does not see it
            warning[renamed-option] `cuda_mem_limit` was renamed to `gpu_mem_limit` (between 1.6 and 1.8)
        "#]],
    );
}

#[test]
fn knows_the_accelerators_of_triton_from_its_parameters() {
    check(
        "optimization { execution_accelerators { gpu_execution_accelerator : [ { name : \"cuda\" parameters { key: \"cudnn_conv_algo_search\" value: \"0\" } parameters { key: \"gpu_mem_lim\" value: \"1\" } } ] } }\nparameters { key: \"custom\" value: { string_value: \"x\" } }",
        expect![[r#"
            note[large-workspace] an EXHAUSTIVE search tries algorithms with large workspaces: 5.0 GB against 0.6 GB in one measurement
            warning[unknown-key] `gpu_mem_lim` is not known as a provider option: it is stored and never read, or refused
        "#]],
    );
}

#[test]
fn reads_variables_of_python_and_docker() {
    check(
        "os.environ[\"ORT_CUDA_ARENA_EXTEND_STRATEGY\"] = \"kSameAsRequested\"\ndocker run --gpus all -e GPU_MEM_LIMIT=4G image\nENV PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
        expect![[r#"
            warning[not-a-variable] ONNX Runtime reads no environment variable `ORT_CUDA_ARENA_EXTEND_STRATEGY`; `arena_extend_strategy` is an option
            warning[not-a-variable] ONNX Runtime reads no environment variable `GPU_MEM_LIMIT`; `gpu_mem_limit` is an option
            note[other-framework] `PYTORCH_CUDA_ALLOC_CONF` is read by another framework; the arena of ONNX Runtime does not see it
        "#]],
    );
}

#[test]
fn finds_a_shrink_list_whose_arena_is_off() {
    check(
        "so.enable_cpu_mem_arena = False\nro.add_run_config_entry('memory.enable_memory_arena_shrinkage', 'gpu:0;cpu:0')\nso.add_session_config_entry('session.use_env_allocators', 'true')",
        expect![[r#"
            error[missing-arena] the shrink list names `cpu`, whose arena is turned off: each run will fail
            warning[bad-value] `session.use_env_allocators` is "true"; only "1" turns it on
        "#]],
    );
}

#[test]
fn finds_a_shrink_list_of_another_gpu() {
    check(
        "providers=[('CUDAExecutionProvider', {'device_id': 1})]\nro.add_run_config_entry('memory.enable_memory_arena_shrinkage', 'gpu:0')",
        expect![[r#"
            error[missing-arena] the shrink list names `gpu:0`, the session uses device 1: each run will fail
        "#]],
    );
}

#[test]
fn finds_session_switches_that_cost_memory_or_do_nothing() {
    check(
        "so.execution_mode = ort.ExecutionMode.ORT_PARALLEL\nso.enable_mem_reuse = False",
        expect![[r#"
            warning[costs-memory] parallel execution turns off memory patterns and the reuse of buffers between nodes: the peak rises
            note[folklore] `enable_mem_reuse` = False frees nothing: the arena gives buffers back in any case, and the peak is usually the same
        "#]],
    );
}
