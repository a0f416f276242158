//! Any text is read or refused, and what is read is printed as a text that means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onnxfit_onnx::text;

fuzz_target!(|input: &str| {
    let Ok(model) = text::parse(input) else { return };
    let printed = text::print(&model);
    let again = text::parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(text::print(&again), printed);
});
