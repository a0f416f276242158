//! `Failed to allocate memory for requested buffer of size R`: the device (or the host, for the
//! arena of the CPU) refused even R bytes (bfc_arena.cc, AllocateRawInternal).

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "bfc_failed_to_allocate",
    kind: Kind::OutOfMemory,
    pattern: r"Failed to allocate memory for requested (?:buffer(?: of size (?P<requested>\d+)?)?)?",
    refine: as_is,
}];
