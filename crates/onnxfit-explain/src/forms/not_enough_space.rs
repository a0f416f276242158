//! `not enough space: expected X, got Y`: the buffer that the caller gave for an output is small.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "not_enough_space",
    kind: Kind::NotMemory,
    pattern: r"not enough space: expected (?P<status>\d+), got \d+",
    refine: as_is,
}];
