//! `not enough space: expected X, got Y`: the buffer that the caller gave for an output is small.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "not_enough_space",
        kind: Kind::NotMemory,
        pattern: r"not enough space: expected (?P<status>\d+), got \d+",
        refine: as_is,
    },
    // provider_options_utils.h: memory that nobody set, read as an option.
    Form {
        id: "unknown_option_value",
        kind: Kind::NotMemory,
        pattern: r"(?:Failed to map enum value to name: -?\d+|[Ii]nvalid value of arena_extend_strategy \d{3,})",
        refine: as_is,
    },
];
