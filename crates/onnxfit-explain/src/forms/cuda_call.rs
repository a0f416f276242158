//! `CUDA failure 2: out of memory ; GPU=0 ; hostname=.. ; file=.. ; line=.. ; expr=cudaMalloc(..)`
//! (cuda_call.cc). It has no byte count. Numbers of a status changed between releases, names did
//! not, so names decide.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "cuda_call_failure",
        kind: Kind::Ambiguous,
        pattern: r"(?P<library>CUDA|CUDNN_FE|CUDNN|CUBLAS|CUFFT|CURAND|CUSPARSE|NCCL) failure (?P<code>-?\d+): (?P<status>[^;\n]{1,160})",
        refine: judge,
    },
    Form {
        id: "hip_call_failure",
        kind: Kind::Ambiguous,
        pattern: r"(?P<library>HIP|MIOPEN|ROCBLAS|HIPBLAS) failure (?P<code>-?\d+): (?P<status>[^;\n]{1,160})",
        refine: judge,
    },
    // Cut before the status: only the kind of status is known, from the template arguments.
    Form {
        id: "cuda_call_cut",
        kind: Kind::Ambiguous,
        pattern: r"CudaCall(?:\(ERRTYPE[^;]{0,400})?\s*$",
        refine: at_end,
    },
];

fn at_end(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    let has_status = text.contains(" failure ");
    if let Some(start) = text.rfind("ERRTYPE = ") {
        let name = &text[start + "ERRTYPE = ".len()..];
        hit.status = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    }
    text[hit.end..].trim().is_empty() && !has_status
}

/// GPUs of one machine; a larger or negative index is memory that nobody set.
const GPUS_MAX: u64 = 64;

fn judge(hit: &mut Hit, groups: &Captures<'_>, text: &str) -> bool {
    let code: i64 = groups.name("code").and_then(|code| code.as_str().parse().ok()).unwrap_or(-1);
    let tail = tail_of(&text[hit.end..]);
    hit.device = field(tail, "GPU=").and_then(|index| index.parse().ok()).filter(|index| *index < GPUS_MAX);
    hit.host = field(tail, "hostname=").map(str::to_owned);
    hit.expression = tail.split("expr=").nth(1).map(super::excerpt).unwrap_or_default();
    let status = hit.status.to_ascii_lowercase();
    let library = hit.library.clone().unwrap_or_default();
    let cuda = library == "CUDA" || library == "HIP";
    const NOT_MEMORY: &[&str] = &[
        "illegal memory access",
        "misaligned",
        "launch fail",
        "no cuda-capable",
        "no hip-capable",
        "insufficient for cuda runtime",
        "driver version",
        "kernel image",
        "capturing",
        "capture",
        "invalid argument",
        "invalid device",
        "arch_mismatch",
        "not_supported",
        "bad_param",
        "invalid_value",
        "version_mismatch",
        "system not yet initialized",
        "forward compatibility",
        "device-side assert",
        "unsupported toolchain",
        "busy or unavailable",
    ];
    hit.kind = if status.contains("out of memory")
        || status.contains("alloc_failed")
        || (cuda && code == 2)
        || status.contains("alloc failed")
    {
        Kind::OutOfMemory
    } else if NOT_MEMORY.iter().any(|word| status.contains(word)) {
        Kind::NotMemory
    } else {
        Kind::Ambiguous
    };
    true
}

/// The fields of this message: up to the next one or 1,200 bytes.
fn tail_of(rest: &str) -> &str {
    let cut = rest.find(" failure ").unwrap_or(rest.len()).min(1200);
    let cut = (0..=cut).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
    &rest[..cut]
}

fn field<'a>(tail: &'a str, name: &str) -> Option<&'a str> {
    let value = tail.split(name).nth(1)?.split(';').next()?.trim();
    (!value.is_empty() && value.len() < 80).then_some(value)
}
