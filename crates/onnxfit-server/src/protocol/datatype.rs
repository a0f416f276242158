//! The protocol's names of element types.

use onnxfit::runtime::ElementType;

const NAMES: &[(ElementType, &str)] = &[
    (ElementType::Bool, "BOOL"),
    (ElementType::Uint8, "UINT8"),
    (ElementType::Uint16, "UINT16"),
    (ElementType::Uint32, "UINT32"),
    (ElementType::Uint64, "UINT64"),
    (ElementType::Int8, "INT8"),
    (ElementType::Int16, "INT16"),
    (ElementType::Int32, "INT32"),
    (ElementType::Int64, "INT64"),
    (ElementType::Float16, "FP16"),
    (ElementType::Float, "FP32"),
    (ElementType::Double, "FP64"),
    (ElementType::Bfloat16, "BF16"),
    (ElementType::String, "BYTES"),
];

/// The protocol's name; `None` for types that it has none for.
pub(crate) fn datatype(element_type: ElementType) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == element_type).map(|(_, name)| *name)
}

/// The type of that name.
pub(crate) fn element_type(datatype: &str) -> Option<ElementType> {
    NAMES.iter().find(|(_, name)| *name == datatype).map(|(known, _)| *known)
}
