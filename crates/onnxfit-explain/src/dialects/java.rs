//! Java: `ai.onnxruntime.OrtException: Error code - ORT_RUNTIME_EXCEPTION - message: ..`.

use super::Dialect;

pub(super) const DIALECT: Dialect =
    Dialect { id: "java", marks: &["ai.onnxruntime.", "Error code - ORT_", "java.lang.OutOfMemoryError"] };
