//! Signs that a CUDA graph was being captured: cudaMalloc is forbidden then.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "cuda_graph_capture",
    kind: Kind::Trace,
    pattern: r#"(?i:operation not permitted when stream is capturing|cudaErrorStreamCapture\w+|CaptureBegin|CUDAGraph::Capture|enable_cuda_graph['"]?\s*[:=,\]]+\s*['"]?(?:1|true)\b)"#,
    refine: as_is,
}];
