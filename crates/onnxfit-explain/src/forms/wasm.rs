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
        id: "wasm_numeric_exception",
        kind: Kind::OutOfMemory,
        pattern: r"Uncaught \(in promise\):? (?:Error: )?\d{6,10}(?:$|[\x20\n'\x22`),;])",
        refine: bare_number,
    },
    // Said by a person: an error that is only a large number.
    Form {
        id: "wasm_numeric_exception",
        kind: Kind::OutOfMemory,
        pattern: r"(?i:\b(?:error|exception)\b[^\n]{0,60}\b(?:number|integer|code)\b[^\n]{0,40}?[\x20`'\x22(:]\d{6,10}[`'\x22),.]?(?:$|[\s)]))",
        refine: in_a_browser,
    },
    // Emscripten's way to end: with a large model it is the heap of WebAssembly most of the time.
    Form {
        id: "wasm_abort",
        kind: Kind::OutOfMemory,
        pattern: r"(?:Aborted\(\)\. Build with -s ?ASSERTIONS|\babort\(undefined\)|Aborted\(undefined\))",
        refine: large_or_several,
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

fn in_a_browser(hit: &mut super::Hit, groups: &regex::Captures<'_>, text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let browser =
        ["onnxruntime-web", "ort-web", "ort web", "wasm", "browser", "webassembly", "[web]", "[js", "javascript"];
    browser.iter().any(|word| lower.contains(word)) && bare_number(hit, groups, text)
}

/// Without a word about size it may be any failed assertion.
fn large_or_several(hit: &mut super::Hit, _: &regex::Captures<'_>, text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let large = ["large", "big", "gb", "mb", "memory", "several", "multiple", "many", "heap"];
    if !large.iter().any(|word| lower.contains(word)) {
        hit.kind = Kind::Ambiguous;
    }
    true
}
