//! `Failed to find a free memory block despite calling Extend`: in the source, never seen.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "bfc_no_free_block",
    kind: Kind::OutOfMemory,
    pattern: r"Failed to find a free memory block despite calling Extend\. rounded_bytes=(?P<requested>\d+)",
    refine: as_is,
}];
