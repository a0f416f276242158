//! `std::bad_alloc`, printed `bad allocation` by MSVC: the host had no memory, whatever the node.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "std_bad_alloc",
        kind: Kind::OutOfMemory,
        pattern: r"(?:\bbad_alloc\b|bad_array_new_length|\bbad allocation\b)",
        refine: as_is,
    },
    Form {
        id: "dotnet_out_of_memory",
        kind: Kind::OutOfMemory,
        pattern: r"System\.OutOfMemoryException(?: HResult=0x8007000E)?",
        refine: as_is,
    },
    Form {
        id: "host_cannot_allocate",
        kind: Kind::OutOfMemory,
        pattern: r"(?:DefaultCPUAllocator: (?:can't allocate memory|not enough memory): you tried to allocate (?P<requested>\d+) bytes|\bCannot allocate memory\b|(?:numpy\.[\w.]*)?_ArrayMemoryError|\bMemoryError\b: |mmap failed: Cannot allocate)",
        refine: as_is,
    },
];
