//! A model of more than 2 GB in one protobuf message: the number is the size of a file.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "protobuf_2gb",
    kind: Kind::NotMemory,
    pattern: r"exceed(?:s|ed)? maximum protobuf size of 2GB(?:: (?P<requested>\d+))?",
    refine: as_is,
}];
