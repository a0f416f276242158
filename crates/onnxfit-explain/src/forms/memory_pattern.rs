//! `Allocation of memory pattern buffer ... failed`: logged at INFO and survived; the run falls
//! back to one allocation per tensor (execution_frame.cc).

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "memory_pattern_refused",
    kind: Kind::Survivable,
    pattern: r"Allocation of memory pattern buffer for (?P<arena>[^\n]{1,60}?) (?:returned nullptr|failed\. Error:)",
    refine: as_is,
}];
