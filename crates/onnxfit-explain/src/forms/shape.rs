//! The input has another shape or type than the model declares.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "shape_validation",
    kind: Kind::NotMemory,
    pattern: r"(?:Got invalid dimensions for input|Invalid rank for input|Unexpected input data type|unexpected shape for input|Attempting to broadcast an axis by a dimension other than 1|The input tensor cannot be reshaped to the requested shape|[Ii]nvalid expand shape|Status Message: [^\n]{0,160}?\b(?:dimensions?|shapes?|rank)\b[^\n]{0,60}?\b(?:should be|must be|expected|mismatch\w*|do(?:es)? not match|invalid))",
    refine: as_is,
}];
