use expect_test::{Expect, expect};

use super::*;

fn read(message: &str, want: Expect) {
    let text = match OutOfMemory::parse(message) {
        Some(found) => format!(
            "{:?} {:?} {:?} requested {:?} available {:?}",
            found.form,
            found.op_type,
            found.node,
            found.requested.map(Bytes::get),
            found.available.map(Bytes::get)
        ),
        None => "not about memory".to_owned(),
    };
    want.assert_eq(&text);
}

#[test]
fn the_arena_limit_names_node_and_both_amounts() {
    read(
        "Non-zero status code returned while running Add node. Name:'add' Status Message: bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Available memory of 1920000 is smaller than requested bytes of 2048000\n",
        expect![[r#"ArenaLimit Some("Add") Some("add") requested Some(2048000) available Some(1920000)"#]],
    );
}

#[test]
fn the_innermost_node_of_nested_control_flow_wins() {
    read(
        "Non-zero status code returned while running Loop node. Name:'outer' Status Message: Non-zero status code returned while running MatMul node. Name:'inner' Status Message: Failed to allocate memory for requested buffer of size 512",
        expect![[r#"DeviceRefused Some("MatMul") Some("inner") requested Some(512) available None"#]],
    );
}

#[test]
fn a_load_has_no_node() {
    read(
        "Exception during initialization: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 268435456",
        expect!["DeviceRefused None None requested Some(268435456) available None"],
    );
}

#[test]
fn a_cuda_call_tells_no_amount() {
    read(
        "Non-zero status code returned while running FusedConv node. Name:'' Status Message: CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=cuda_allocator.cc ; line=48 ; expr=cudaMalloc((void**)&p, size); ",
        expect![[r#"Cuda Some("FusedConv") None requested None available None"#]],
    );
    read(
        "CudaMempoolArena::AllocOnStream: cudaMallocFromPoolAsync failed on stream=7: out of memory (2), size=4096",
        expect!["CudaPool None None requested Some(4096) available None"],
    );
}

#[test]
fn a_quote_inside_a_name_or_escaped_quotes_do_not_cut_it() {
    read(
        "Non-zero status code returned while running Gemm node. Name:'a'b' Status Message: std::bad_alloc",
        expect![[r#"Host Some("Gemm") Some("a'b") requested None available None"#]],
    );
    read(
        r"Non-zero status code returned while running Gemm node. Name:\'ab\' Status Message: std::bad_alloc",
        expect![[r#"Host Some("Gemm") Some("ab") requested None available None"#]],
    );
}

#[test]
fn other_errors_and_damaged_texts_are_not_about_memory() {
    for message in [
        "",
        "Got invalid dimensions for input: x",
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0",
        "CUDA failure 209: no kernel image",
        "Available memory of xxx is smaller than requested bytes of 1",
        "Available memory of 99999999999999999999999 is smaller than requested bytes of 1",
        "Failed to allocate memory for requested buffer of size ",
    ] {
        assert_eq!(OutOfMemory::parse(message), None, "{message}");
    }
}

#[test]
fn the_sentence_says_where_and_how_much() {
    let found = OutOfMemory::parse(
        "Non-zero status code returned while running Add node. Name:'add' Status Message: Available memory of 1 is smaller than requested bytes of 256",
    );
    expect!["out of memory at Add node `add`: 256 bytes requested, 1 left under the limit"]
        .assert_eq(&found.map(|found| found.to_string()).unwrap_or_default());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(returned while running |node\\.|Name:'|Status Message:|Available memory of |[0-9é' ]){0,12}") {
        let _ = OutOfMemory::parse(&text);
    }
}
