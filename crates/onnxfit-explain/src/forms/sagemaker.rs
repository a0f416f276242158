//! SageMaker's wrappers: `ModelError`, and HTTP 507 of a multi-model endpoint.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "sagemaker_507",
        kind: Kind::OutOfMemory,
        pattern: r"(?i:\b(?:HTTP|status(?: code)?|code|error|returns?(?: a)?|Received (?:client|server) error)\W{0,4}507\b)",
        refine: as_is,
    },
    Form {
        id: "sagemaker_model_error",
        kind: Kind::Ambiguous,
        pattern: r"Received (?:client|server) error \((?P<status>\d{3})\)",
        refine: as_is,
    },
];
