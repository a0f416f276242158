//! The input has another shape or type than the model declares.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "shape_validation",
    kind: Kind::NotMemory,
    pattern: r"(?:Got invalid dimensions for input|Invalid rank for input|Unexpected input data type|unexpected shape for input|Attempting to broadcast an axis by a dimension other than 1|The input tensor cannot be reshaped to the requested shape|[Ii]nvalid expand shape)",
    refine: as_is,
}];
