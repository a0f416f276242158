//! A status of ONNX Runtime's that never stands for memory: no such file, no kernel.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "ort_status_other",
    kind: Kind::NotMemory,
    pattern: r"\[ONNXRuntimeError\] : (?P<status>3 : NO_SUCHFILE|4 : NO_MODEL|9 : NOT_IMPLEMENTED)",
    refine: as_is,
}];
