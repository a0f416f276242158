//! The CUDA memory pool arena (`arena.use_cuda_mempool`, 1.24): its own text.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "cuda_mempool",
    kind: Kind::OutOfMemory,
    pattern: r"CudaMempoolArena::\w+: cudaMalloc\w* failed[^:]*: out of memory \(2\), size=(?P<requested>\d+)",
    refine: as_is,
}];
