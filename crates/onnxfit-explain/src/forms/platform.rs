//! Failures of the platform that look like a crash for want of memory.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "lambda_cpuinfo",
        kind: Kind::NotMemory,
        pattern: r"(?:Error in cpuinfo: failed to parse|Failed to initialize PyTorch cpuinfo|/sys/devices/system/cpu/(?:possible|present))",
        refine: as_is,
    },
    Form { id: "cublas_workspace_config", kind: Kind::NotMemory, pattern: r"CUBLAS_WORKSPACE_CONFIG", refine: as_is },
    Form {
        id: "int32_overflow",
        kind: Kind::NotMemory,
        pattern: r"(?i:(?:overflows? int32|int32 overflow|int32 index overflow|more than 2\^31|above 2\^31|2\*\*31|exceeds INT_MAX))",
        refine: as_is,
    },
];
