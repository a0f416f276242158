//! The shrink list of a run names a device that has no arena in this session.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "shrink_list",
    kind: Kind::NotMemory,
    pattern: r"(?:Did not find an arena based allocator registered for device-id combination in the memory arena shrink list: (?P<status>\S+)|(?:Unsupported device specified|Invalid device) in the memory arena shrink list)",
    refine: as_is,
}];
