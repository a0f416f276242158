//! C++: an exception that nobody caught.

use super::Dialect;

pub(super) const DIALECT: Dialect =
    Dialect { id: "cpp", marks: &["terminate called", "what():", "Ort::Exception", "OnnxRuntimeException"] };
