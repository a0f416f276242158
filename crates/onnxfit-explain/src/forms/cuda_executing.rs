//! `CUDNN error executing cudnnConvolutionForward(..)`: releases up to about 1.13; the status was
//! printed on stderr before it.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[Form {
    id: "cuda_error_executing_legacy",
    kind: Kind::Ambiguous,
    pattern: r"(?P<library>CUDA|CUDNN|CUBLAS) error executing (?P<expression>\w+)",
    refine: judge,
}];

/// A copy or allocation that fails without a reason of its own: the memory was not there.
fn judge(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    let reason_before = text[..hit.at].contains(" failure ");
    let moves_memory = ["cudaMalloc", "cudaMemcpy"].iter().any(|call| hit.expression.starts_with(call));
    if moves_memory && !reason_before {
        hit.kind = Kind::OutOfMemory;
    }
    // Only the runtime's own copy nodes copy in this direction.
    let arguments = text.get(hit.end..).and_then(|rest| rest.split(')').next()).unwrap_or("");
    if hit.expression == "cudaMemcpy" && arguments.contains("DeviceToHost") {
        hit.op_type = Some("MemcpyToHost".to_owned());
    }
    true
}
