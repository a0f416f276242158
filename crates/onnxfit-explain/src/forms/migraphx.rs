//! `allocate_gpu: Memory not available to allocate buffer: N`: MIGraphX asks the card itself, past
//! the arena of ONNX Runtime.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[Form {
    id: "migraphx_out_of_memory",
    kind: Kind::OutOfMemory,
    pattern: r"Memory not available to allocate buffer: (?P<requested>\d+)",
    refine: as_is,
}];
