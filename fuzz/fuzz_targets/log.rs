//! Any bytes are a log: it is explained without a panic, and says the same however it is fed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onnxfit_explain::{Context, LogReader, explain, lint_options};

fuzz_target!(|data: &[u8]| {
    let whole = explain(data);
    assert!(whole.to_json().is_ok(), "an explanation is always JSON");
    let step = usize::from(data.first().copied().unwrap_or(0)) + 1;
    let mut reader = LogReader::new();
    data.chunks(step).for_each(|chunk| reader.feed(chunk));
    assert_eq!(reader.explain(&Context::default()), whole, "chunks change nothing");
    let _ = lint_options(&String::from_utf8_lossy(data));
});
