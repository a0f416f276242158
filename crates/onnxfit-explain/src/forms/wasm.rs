//! ONNX Runtime in a browser: the heap of WebAssembly, WebGPU.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "wasm_range_error",
        kind: Kind::OutOfMemory,
        pattern: r"RangeError: (?:offset is out of bounds|Array buffer allocation failed|WebAssembly\.Memory|Invalid (?:typed )?array(?: buffer)? length|could not allocate memory)",
        refine: as_is,
    },
    Form {
        id: "wasm_abort",
        kind: Kind::OutOfMemory,
        pattern: r"(?:Aborted\(OOM\)|abort\(OOM\)|Cannot enlarge memory|RuntimeError: memory access out of bounds|WebAssembly\.instantiate\(\): Out of memory|WebAssembly\.Memory\(\): could not allocate)",
        refine: as_is,
    },
    // A C++ exception that leaves WebAssembly is printed as the address of its object.
    Form {
        id: "wasm_numeric_exception",
        kind: Kind::OutOfMemory,
        pattern: r"(?i:(?:\berror:|uncaught|unhandled|thrown?|exception|error code)[^\n]{0,60}?[\x20`'\x22(:]\d{6,10}[`'\x22)]?\s*(?:\)|$|\.|,))",
        refine: bare_number,
    },
    Form {
        id: "webgpu_oom",
        kind: Kind::OutOfMemory,
        pattern: r"(?i:WebGPU device error\(2\)|GPUOutOfMemoryError|Failed to allocate memory for buffer mapping)",
        refine: as_is,
    },
];

/// Only without any other machine message in the line does a bare number say this.
fn bare_number(hit: &mut super::Hit, _: &regex::Captures<'_>, text: &str) -> bool {
    let start = text[..hit.at].rfind('\n').map_or(0, |at| at + 1);
    let end = text[hit.end..].find('\n').map_or(text.len(), |at| hit.end + at);
    let line = text[start..end].to_ascii_lowercase();
    let other = ["failure", "bytes", "size", "onnxruntimeerror", "0x", "protobuf", "line ", "cuda", "loadlibrary"];
    !other.iter().any(|word| line.contains(word))
}
