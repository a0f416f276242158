//! What must hold for any text: no panic, bounded memory, and the same facts out of a message
//! however a terminal, a log collector or an escaper has treated it.

use onnxfit_explain::{Context, Explanation, LogReader, explain, lint_options};
use proptest::prelude::*;

/// One message of each kind that has a size or a node, with what must be read out of it.
struct Message {
    text: &'static str,
    node: Option<&'static str>,
    requested: Option<u64>,
    cause: &'static str,
}

const MESSAGES: &[Message] = &[
    Message {
        text: "2026-03-01 10:14:43.214806225 [E:onnxruntime:, sequential_executor.cc:514 ExecuteKernel] Non-zero status code returned while running Softmax node. Name:'/decoder/attn/Softmax' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 8388608000",
        node: Some("/decoder/attn/Softmax"),
        requested: Some(8_388_608_000),
        cause: "batch_too_large",
    },
    Message {
        text: "onnxruntime.capi.onnxruntime_pybind11_state.Fail: [ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Concat node. Name:'nd' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Available memory of 1999872 is smaller than requested bytes of 24000000",
        node: Some("nd"),
        requested: Some(24_000_000),
        cause: "memory_limit_too_low",
    },
    Message {
        text: "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=ip-10-0-1-7 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_stream_handle.cc ; line=51 ; expr=cublasCreate(&cublas_handle_);",
        node: None,
        requested: None,
        cause: "too_many_threads",
    },
    Message {
        text: "Non-zero status code returned while running FusedConv node. Name:'block1/conv' Status Message: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 13622061778317179392",
        node: Some("block1/conv"),
        requested: Some(13_622_061_778_317_179_392),
        cause: "size_computation_garbage",
    },
    Message {
        text: "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=host ; expr=cudaEventDestroy(read_event_);",
        node: None,
        requested: None,
        cause: "not_oom_illegal_memory_access",
    },
];

fn same(explanation: &Explanation, message: &Message, how: &str) {
    assert_eq!(explanation.node.as_deref(), message.node, "{how}");
    assert_eq!(explanation.requested_bytes.map(|bytes| bytes.get()), message.requested, "{how}");
    assert_eq!(explanation.causes.first().map(|cause| cause.id), Some(message.cause), "{how}");
}

/// Cuts the text at a width, as a terminal does.
fn wrapped(text: &str, width: usize, left: &str, right: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let line = |part: &[char]| {
        let part: String = part.iter().collect();
        format!("{left}{part:<width$}{right}\n")
    };
    letters.chunks(width).map(line).collect()
}

#[test]
fn reads_a_message_through_every_wrapper() {
    for message in MESSAGES {
        let text = message.text;
        let escaped = text.replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\"");
        let json = serde_json::json!({ "error": text }).to_string();
        let nested = serde_json::json!({ "log": json, "stream": "stderr" }).to_string();
        for (how, log) in [
            ("plain", text.to_owned()),
            ("docker", format!("2026-03-01T12:29:36.521487662Z {text}")),
            ("compose", format!("worker_1  | {text}")),
            ("cri", format!("2026-03-01T12:29:36.521487662Z stderr F {text}")),
            ("cloudwatch", format!("1709296176521\t{text}")),
            ("journald", format!("Mar  1 10:00:00 host app[123]: {text}")),
            ("ansi", format!("\u{1b}[1;31m{text}\u{1b}[0m")),
            ("ansi as text", format!("\\x1b[31m{text}\\x1b[0m")),
            ("ansi inside", text.replace(" node.", "\u{1b}[0m node.")),
            ("escaped", format!("b'{escaped}'")),
            ("json", json),
            ("json in json", nested),
            ("rust debug", format!("Error {{ code: Fail, message: \"{escaped}\\n\", ptr: 0x55e5 }}")),
            ("csharp", format!("[ErrorCode:Fail] {text}")),
            ("triton row", format!("| model | 1 | UNAVAILABLE: Internal: onnx runtime error 6: {text} |")),
            ("progress bar", format!("  3%|▎         | 3/100 [00:01<00:32,  3.02it/s]{text}")),
            ("html", text.replace('\'', "&#39;")),
            ("quotes", text.replace('\'', "\u{2019}")),
            ("windows lines", format!("first\r\n{text}\r\nlast\r\n")),
            ("repeated", format!("{text}\n").repeat(300)),
        ] {
            same_but_server(&explain(log.as_bytes()), message, how);
        }
        for width in [50, 72, 79, 80, 100, 120] {
            same(&explain(wrapped(text, width, "", "").as_bytes()), message, &format!("wrapped at {width}"));
            same(&explain(wrapped(text, width, "│ ", " │").as_bytes()), message, &format!("boxed at {width}"));
            let indented = wrapped(text, width, "          ", "");
            same(&explain(indented.as_bytes()), message, &format!("indented, wrapped at {width}"));
        }
    }
}

/// A wrapper that names a model server may change who is thought to hold the card.
fn same_but_server(explanation: &Explanation, message: &Message, how: &str) {
    assert_eq!(explanation.node.as_deref(), message.node, "{how}");
    assert_eq!(explanation.requested_bytes.map(|bytes| bytes.get()), message.requested, "{how}");
    if how != "triton row" {
        assert_eq!(explanation.causes.first().map(|cause| cause.id), Some(message.cause), "{how}");
    }
}

#[test]
fn counts_what_repeats_and_keeps_the_first_error() {
    let mut log = "warming up\n".repeat(10_000);
    log += &format!("{}\n", MESSAGES[0].text);
    for _ in 0..5_000 {
        log += &format!("{}\nretrying\n", MESSAGES[2].text);
    }
    let explanation = explain(log.as_bytes());
    assert_eq!(explanation.form, "bfc_failed_to_allocate");
    assert_eq!(explanation.repeats, 1);
    let many = explain(format!("{}\n", MESSAGES[2].text).repeat(5_000).as_bytes());
    assert_eq!(many.repeats, 5_000);
    assert_eq!(many.host.as_deref(), Some("ip-10-0-1-7"));
}

#[test]
fn finds_a_message_in_one_endless_line() {
    let log = format!("{}{}{}", "x".repeat(3_000_000), MESSAGES[1].text, "y".repeat(3_000_000));
    assert_eq!(explain(log.as_bytes()).node.as_deref(), Some("nd"));
}

#[test]
fn says_nothing_about_nothing() {
    for log in ["", "\n\n", "all is well", "INFO served 200 requests"] {
        let explanation = explain(log.as_bytes());
        assert_eq!(explanation.is_oom, None, "{log}");
        assert!(explanation.causes.is_empty(), "{log}: {:?}", explanation.causes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let explanation = explain(&bytes);
        prop_assert!(explanation.to_json().is_ok());
        let _ = lint_options(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn survives_pieces_of_messages(
        pieces in proptest::collection::vec((0..MESSAGES.len(), 0usize..900, 0usize..900, "\\PC{0,12}"), 1..12),
    ) {
        let mut log = String::new();
        for (index, start, length, glue) in pieces {
            let letters: String = MESSAGES[index].text.chars().skip(start).take(length).collect();
            log += &letters;
            log += &glue;
        }
        prop_assert!(explain(log.as_bytes()).to_json().is_ok());
        let _ = lint_options(&log);
    }

    #[test]
    fn does_not_depend_on_how_the_log_is_fed(index in 0..MESSAGES.len(), chunk in 1usize..97, lines in 1usize..40) {
        let log = format!("{}\n", MESSAGES[index].text).repeat(lines);
        let mut reader = LogReader::new();
        for part in log.as_bytes().chunks(chunk) {
            reader.feed(part);
        }
        prop_assert_eq!(reader.explain(&Context::default()), explain(log.as_bytes()));
    }

    #[test]
    fn never_reads_a_larger_size_than_is_printed(index in 0..MESSAGES.len(), cut in 0usize..700) {
        let message = &MESSAGES[index];
        let text: String = message.text.chars().take(cut).collect();
        let read = explain(text.as_bytes()).requested_bytes.map_or(0, |bytes| bytes.get());
        prop_assert!(read <= message.requested.unwrap_or(0));
    }

    #[test]
    fn lints_any_text(text in "\\PC{0,400}") {
        let _ = lint_options(&text);
    }
}
