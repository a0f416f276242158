//! DirectML and Direct3D: `8007000E`, `Not enough memory resources`, device removed; no size.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "dml_8007000e",
        kind: Kind::OutOfMemory,
        pattern: r"(?i:80\s?07\s?000E|800 ?7000E|Not enough memory resources(?: are available)?|E_OUTOFMEMORY)",
        refine: as_is,
    },
    Form { id: "dml_device_removed", kind: Kind::Ambiguous, pattern: r"887A000[5-7]", refine: as_is },
];
