//! `SafeIntOnOverflow() Integer overflow`: a size computation went past 64 bits.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "safeint_overflow",
    kind: Kind::Ambiguous,
    pattern: r"SafeIntOnOverflow(?:\(\))?(?: Integer overflow)?",
    refine: as_is,
}];
