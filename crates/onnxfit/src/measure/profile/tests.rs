use super::*;

/// Two runs as ONNX Runtime 1.31 profiles them, shortened: a body's nodes come before the node that
/// has it, and what is no kernel is there too.
const PROFILE: &str = r#"[
{"cat": "Session", "dur": 10694, "ts": 464, "name": "session_initialization", "args": {}},
{"cat": "Node", "dur": 138, "ts": 14299, "name": "mm_kernel_time", "args": {"op_name": "MatMul", "mem_bytes_in_use": "32768", "mem_arena_held": "1064960"}},
{"cat": "Node", "dur": 19, "ts": 14478, "name": "e1_kernel_time", "args": {"op_name": "Exp", "mem_bytes_in_use": "65536", "mem_arena_held": "1064960"}},
{"cat": "Node", "dur": 22, "ts": 14444, "name": "Softmax_1_kernel_time", "args": {"op_name": "Softmax", "mem_bytes_in_use": "32768", "mem_arena_held": "1064960"}},
{"cat": "Node", "dur": 65, "ts": 14469, "name": "iff_kernel_time", "args": {"op_name": "If", "mem_bytes_in_use": "49152", "mem_arena_held": "1064960"}},
{"cat": "Session", "dur": 3137, "ts": 11405, "name": "model_run", "args": {}},
{"cat": "Node", "dur": 17, "ts": 14932, "name": "mm_kernel_time", "args": {"op_name": "MatMul", "mem_bytes_in_use": "16384", "mem_arena_held": "1064960"}},
{"cat": "Session", "dur": 69, "ts": 14919, "name": "model_run", "args": {}}
]"#;

#[test]
fn nodes_are_told_run_by_run_in_the_order_in_which_they_began() {
    let runs: Vec<Vec<(String, u64)>> = read(PROFILE)
        .into_iter()
        .map(|nodes| nodes.into_iter().map(|node| (node.name, node.in_use.get())).collect())
        .collect();
    let named = |name: &str, bytes| (name.to_owned(), bytes);
    assert_eq!(
        runs,
        [vec![named("mm", 32768), named("Softmax_1", 32768), named("e1", 65536)], vec![named("mm", 16384)]]
    );
}

#[test]
fn a_profile_without_bytes_tells_no_nodes() {
    let old = PROFILE.replace("mem_bytes_in_use", "activation_size");
    assert!(read(&old).is_empty());
    assert!(read("no profile").is_empty());
}
