//! No driver, no device, or an architecture without kernels: said outside of `CUDA failure N`.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "no_device",
        kind: Kind::NotMemory,
        pattern: r"(?i:no CUDA-capable device is detected|NVIDIA-SMI has failed|Found no NVIDIA driver|no CUDA GPUs are available)",
        refine: as_is,
    },
    Form { id: "no_kernel_image", kind: Kind::NotMemory, pattern: r"no kernel image is available", refine: as_is },
    Form {
        id: "driver_or_arch",
        kind: Kind::NotMemory,
        pattern: r"(?i:CUDA driver version is insuffici?ent|the provided PTX was compiled with an unsupported toolchain|gpu architecture \S+ is not supported)",
        refine: as_is,
    },
];
