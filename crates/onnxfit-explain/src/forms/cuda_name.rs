//! `CUDA error cudaErrorNoKernelImageForDevice:no kernel image ..`: a status by its name.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[Form {
    id: "cuda_error_name",
    kind: Kind::NotMemory,
    pattern: r"CUDA error (?P<status>cudaError\w+)",
    refine: judge,
}];

fn judge(hit: &mut Hit, _: &Captures<'_>, _: &str) -> bool {
    if hit.status == "cudaErrorMemoryAllocation" {
        hit.kind = Kind::OutOfMemory;
    }
    true
}
