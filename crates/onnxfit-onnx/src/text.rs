//! ONNX's text syntax: models as they are written in tests, in issues, and on screens.
//!
//! The syntax is that of `onnx.parser.parse_model` and `onnx.printer.to_text` (onnx 1.23), with
//! four additions that make a model shorter to write:
//!
//! * The header may be left out: `g (float[N] x) => (float[N] y) { y = Relu(x) }` is a model of
//!   IR version 10 and opset 21, with `com.microsoft` 1.
//! * An initializer may have no value: `<float[256, 1024] w>`, when no node writes `w`, is a
//!   weight whose bytes are absent ([`ABSENT_LOCATION`]). So is `w = {...}`.
//! * `float16` and `bfloat16` values may be written as numbers with a point (`1.5`); without a
//!   point they are bit patterns, as in onnx. Types of four and two bits hold one value per element,
//!   and become the packed bytes that a file has.
//! * Attributes may be lists of tensors, graphs and types.
//!
//! What the syntax cannot say is not printed: sparse initializers, quantization annotations,
//! metadata of nodes and values, doc strings of anything but the model, and fixed types of
//! values that the same graph does not give.

mod attribute;
mod cursor;
mod model;
mod print;
mod print_tensor;
mod tensor;
mod types;

use crate::proto::ModelProto;

pub use cursor::TextError;
pub use print::{PrintOptions, print, print_with};

/// Where the bytes of a weight without a value would be.
pub const ABSENT_LOCATION: &str = "absent.data";

/// Reads a model.
pub fn parse(text: &str) -> Result<ModelProto, TextError> {
    model::parse(text)
}

#[cfg(test)]
mod tests;
