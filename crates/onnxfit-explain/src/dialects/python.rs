//! The Python binding: `[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ..`, and another exception
//! type for the same failure with IO binding.

use super::Dialect;

pub(super) const DIALECT: Dialect = Dialect {
    id: "python",
    marks: &[
        "[ONNXRuntimeError]",
        "onnxruntime_pybind11_state",
        "Traceback (most recent call last)",
        "onnxruntime.capi",
    ],
};

pub(super) const IO_BINDING: Dialect =
    Dialect { id: "python-io-binding", marks: &["run_with_iobinding", "RuntimeError: Error in execution"] };
