//! JavaScript: onnxruntime-node and onnxruntime-web.

use super::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    id: "javascript",
    marks: &["onnxruntime-node", "onnxruntime-web", "ort-wasm", "RangeError:", "node_modules", "ERROR_CODE:"],
};
