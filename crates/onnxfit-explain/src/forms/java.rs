//! The heap of a Java machine.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "jvm_out_of_memory",
    kind: Kind::OutOfMemory,
    pattern: r"OutOfMemoryError(?:: Failed to allocate a (?P<requested>\d+) byte allocation with (?P<available>\d+) free bytes|: (?:Java heap space|Direct buffer memory|GC overhead limit exceeded|unable to create (?:new )?native thread))",
    refine: as_is,
}];
