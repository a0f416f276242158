//! A kernel that read or wrote outside its memory, said outside of `CUDA failure N: ..`: by other
//! frameworks, in titles, in what a person quotes.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "illegal_memory_access",
    kind: Kind::NotMemory,
    pattern: r"(?:an illegal memory access was encountered|cudaErrorIllegalAddress|CUDA_ERROR_ILLEGAL_ADDRESS|CUDA (?:failure|error) ?\(?(?:700|77)\b|device-side assert triggered|AccessViolationException|Attempted to read or write protected memory|malloc\(\): invalid size|corrupted size vs\. prev_size|double free or corruption|free\(\): invalid)",
    refine: as_is,
}];
