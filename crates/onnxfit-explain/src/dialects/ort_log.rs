//! A line of ONNX Runtime's own log: `2024-01-01 00:00:00.000000000 [E:onnxruntime:, file:1 f] ..`.

use super::Dialect;

pub(super) const DIALECT: Dialect = Dialect { id: "ort-log", marks: &[":onnxruntime:"] };
