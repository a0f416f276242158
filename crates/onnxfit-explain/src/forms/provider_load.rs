//! The CUDA provider did not load: the run goes on on the CPU, or stops; no memory was asked for.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "ep_load_failed",
        kind: Kind::NotMemory,
        pattern: r"Failed to load library \S+ with error: (?P<status>[^\n]{0,200})",
        refine: as_is,
    },
    Form {
        id: "ep_load_failed",
        kind: Kind::NotMemory,
        pattern: r"(?i:LoadLibrary failed with error) (?P<status>\d+)",
        refine: as_is,
    },
    Form {
        id: "ep_fallback_warning",
        kind: Kind::NotMemory,
        pattern: r"Failed to create (?:CUDA|Tensorrt|TensorRT|ROCM|MIGraphX)ExecutionProvider",
        refine: as_is,
    },
    Form {
        id: "rust_tracing",
        kind: Kind::NotMemory,
        pattern: r"(?:No execution providers registered successfully|An error occurred when attempting to register `?\w*ExecutionProvider)",
        refine: as_is,
    },
    Form {
        id: "ep_load_failed",
        kind: Kind::NotMemory,
        pattern: r"(?P<status>(?:lib)?(?:cublas|cudnn|cudart|cufft|curand|onnxruntime_providers)\w*[\w.]*(?:\.so[\w.]*|\.dll))\W+(?:cannot open shared object|which is missing|not found|is missing)",
        refine: as_is,
    },
    Form {
        id: "ep_load_failed",
        kind: Kind::NotMemory,
        pattern: r"(?i:can(?:'t|not| not) (?:resolve|load|find) [`'\x22]?(?P<status>(?:lib)?(?:cublas|cudnn|cudart|cufft|onnxruntime_providers)\w*[\w.]*))",
        refine: as_is,
    },
    Form {
        id: "ep_load_failed",
        kind: Kind::NotMemory,
        pattern: r"(?:CUDA_PATH is set but CUDA wasn'?t able to be loaded|Error loading [`'\x22]?[^\n`'\x22]{0,200}onnxruntime_providers_\w+\.(?:dll|so)|libonnxruntime_providers_\w+\.so: (?:undefined symbol|cannot open))",
        refine: as_is,
    },
    Form {
        id: "ep_not_available",
        kind: Kind::NotMemory,
        pattern: r"Specified provider '(?:CUDA|Tensorrt)ExecutionProvider' is not in available provider names",
        refine: as_is,
    },
    Form {
        id: "ep_load_failed",
        kind: Kind::NotMemory,
        pattern: r"(?:Could not (?:load|locate) (?:library|cudnn)|Unable to load any of \{?libcudnn|Invalid handle\. Cannot load symbol cudnn)",
        refine: as_is,
    },
];
