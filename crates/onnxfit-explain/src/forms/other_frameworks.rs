//! Allocators of other frameworks, whose words are close to ONNX Runtime's.

use regex::Captures;

use super::{Form, Hit, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "tf_bfc_stats",
        kind: Kind::NotMemory,
        pattern: r"Limit: (?P<limit>\d+) InUse: (?P<status>\d+) MaxInUse: \d+(?:[^\n]*\n){0,6}?[^\n]*LargestFreeBlock: (?P<available>\d+)",
        refine: as_is,
    },
    Form {
        id: "tf_bfc_stats",
        kind: Kind::NotMemory,
        pattern: r"(?:tensorflow/core/common_runtime/bfc_allocator|ResourceExhaustedError|OOM when allocating tensor with shape)",
        refine: as_is,
    },
    Form {
        id: "torch_oom",
        kind: Kind::NotMemory,
        pattern: r"CUDA out of memory\. Tried to allocate (?P<amount>[\d.]+) (?P<unit>[KMGT]i?B)",
        refine: amount,
    },
    Form {
        id: "paddle_oom",
        kind: Kind::NotMemory,
        pattern: r"Cannot allocate (?P<amount>[\d.]+)(?P<unit>[KMGT]i?B) memory on GPU \d+, available memory is only [\d.]+[KMGT]i?B",
        refine: amount,
    },
    Form {
        id: "torch_oom",
        kind: Kind::NotMemory,
        pattern: r"(?:torch\.(?:cuda\.)?OutOfMemoryError|HIP out of memory\. Tried|MPS backend out of memory|RuntimeError: CUDA error: (?:out of memory|CUBLAS_STATUS_ALLOC_FAILED)|CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling)",
        refine: without_a_size,
    },
    Form {
        id: "tf_device_oom",
        kind: Kind::NotMemory,
        pattern: r"failed to allocate [\d.]+[KMGT]?i?B? \((?P<requested>\d+) bytes\) from device: CUDA_ERROR_OUT_OF_MEMORY",
        refine: as_is,
    },
    // ONNX Runtime prints the names of the runtime API; these are the driver API's.
    Form { id: "driver_api_oom", kind: Kind::NotMemory, pattern: r"CUDA_ERROR_OUT_OF_MEMORY", refine: as_is },
    Form {
        id: "ctranslate2_oom",
        kind: Kind::NotMemory,
        pattern: r"CUDA failed with error out of memory",
        refine: as_is,
    },
    Form {
        id: "xla_oom",
        kind: Kind::NotMemory,
        pattern: r"RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate request)|cupy\.cuda\.memory\.OutOfMemoryError|mxnet\.base\.MXNetError[^\n]{0,200}(?:ALLOC_FAILED|out of memory)",
        refine: as_is,
    },
    Form {
        id: "llama_cpp_oom",
        kind: Kind::NotMemory,
        pattern: r"(?:ggml_(?:backend_cuda|cuda|gallocr)\w*: (?:allocating|failed to allocate)|CUDA error: out of memory current device: \d+, in function)",
        refine: as_is,
    },
];

fn amount(hit: &mut Hit, groups: &Captures<'_>, _: &str) -> bool {
    let text = |name: &str| groups.name(name).map(|group| group.as_str());
    // PyTorch and Paddle count in binary units, whatever they print.
    let unit = text("unit").map(|unit| unit.trim_end_matches("iB").trim_end_matches('B'));
    hit.requested = text("amount").zip(unit).and_then(|(amount, unit)| crate::number::with_unit(amount, unit));
    true
}

/// The message that follows the name has the size: it is the hit.
fn without_a_size(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    !text[hit.end..].trim_start_matches([':', ' ']).starts_with("CUDA out of memory. Tried")
}
