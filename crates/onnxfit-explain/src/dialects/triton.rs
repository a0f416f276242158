//! Triton Inference Server.

use super::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    id: "triton",
    marks: &[
        "onnx runtime error ",
        "tritonserver",
        "triton_model_instance",
        "TRITONBACKEND",
        "StatusCode.INTERNAL",
        "at UNAVAILABLE state",
        "UNAVAILABLE: Internal",
        "/workspace/onnxruntime/",
    ],
};
