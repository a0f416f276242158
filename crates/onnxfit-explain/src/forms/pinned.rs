//! Triton's pool of pinned host memory, and the pinned arena by its name.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "triton_pinned_pool",
        kind: Kind::Survivable,
        pattern: r"Unable to allocate pinned system memory",
        refine: as_is,
    },
    Form {
        id: "pinned_refused",
        kind: Kind::OutOfMemory,
        pattern: r"cudaHostAlloc[^\n]{0,80}out of memory",
        refine: as_is,
    },
];
