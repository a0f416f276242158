//! The command `onnxfit`.
fn main() {}
