//! TensorRT: an `[E] OutOfMemory` is survived when it only skips a tactic; what makes it a failure
//! is that no engine came out.

use regex::Captures;

use super::{Form, Hit, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "trt_cuda_error_in_allocate",
        kind: Kind::OutOfMemory,
        pattern: r"Cuda Error in (?:\w+::)*(?:re)?allocate: 2 \(out of memory\)",
        refine: as_is,
    },
    Form {
        id: "trt_requested_amount",
        kind: Kind::Survivable,
        pattern: r"Requested amount of GPU memory \((?P<requested>\d+) bytes\) could not be allocated",
        refine: as_is,
    },
    Form {
        id: "trt_skipping_tactic",
        kind: Kind::Survivable,
        pattern: r"CUDA error 2 allocating (?P<requested>\d+)-byte buffer",
        refine: as_is,
    },
    Form {
        id: "trt_skipping_tactic",
        kind: Kind::Survivable,
        pattern: r"Skipping tactic \w+ due to insufficient memory on requested size of (?P<requested>\d+)",
        refine: as_is,
    },
    Form {
        id: "trt_skipping_tactic",
        kind: Kind::Survivable,
        pattern: r"Tactic Device request: (?P<requested_mb>\d+)MB Available: (?P<available_mb>\d+)MB",
        refine: megabytes,
    },
    Form {
        id: "trt_cuda_runtime",
        kind: Kind::OutOfMemory,
        pattern: r"Error Code 1: Cuda Runtime \(out of memory\)",
        refine: as_is,
    },
    Form {
        id: "trt_out_of_memory",
        kind: Kind::Survivable,
        pattern: r"Error Code 2: OutOfMemory(?: \(Requested size was (?P<requested>\d+) bytes)?",
        refine: as_is,
    },
    Form {
        id: "trt_insufficient_workspace",
        kind: Kind::Survivable,
        pattern: r"due to insufficient workspace",
        refine: as_is,
    },
    Form {
        id: "trt_no_engine",
        kind: Kind::Fatal,
        pattern: r"(?:Engine could not be created|failed to create engine|[Ee]ngine building failed|[Cc]ould not find any implementation(?: for node \{(?P<node>[^}\n]*)\})?|buildSerializedNetwork|unable to create TensorRT context|engine != nullptr failed)",
        refine: as_is,
    },
    Form {
        id: "trt_memory_usage",
        kind: Kind::Trace,
        pattern: r"\[MemUsageChange\][^\n]{0,200}?now: CPU \d+, GPU (?P<status>\d+) \(MiB\)",
        refine: as_is,
    },
];

fn megabytes(hit: &mut Hit, groups: &Captures<'_>, _: &str) -> bool {
    let bytes = |name: &str| crate::number::with_unit(groups.name(name)?.as_str(), "MiB");
    hit.requested = bytes("requested_mb");
    hit.available = bytes("available_mb");
    true
}
