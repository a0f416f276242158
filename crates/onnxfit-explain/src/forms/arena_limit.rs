//! `Available memory of A is smaller than requested bytes of R`: the configured limit of the
//! arena, not the card (bfc_arena.cc, Extend; free device memory is never looked at).

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "bfc_available_memory",
        kind: Kind::OutOfMemory,
        pattern: r"Available memory of (?P<available>\d+) is smaller than requested bytes of (?P<requested>\d+)",
        refine: as_is,
    },
    // Cut or redacted before a number: the words alone decide.
    Form {
        id: "bfc_available_memory",
        kind: Kind::OutOfMemory,
        pattern: r"Available memory of (?:[^\d\s]\S*|(?P<available>\d+) is smaller than requested(?: bytes(?: of)?)?(?: [^\d\s]|\s*$))",
        refine: as_is,
    },
];
