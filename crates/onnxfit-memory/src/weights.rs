//! Where weights lie once the session is created.
//!
//! `session_state_utils.cc:SaveInitializedTensors` and `graph.cc` (ORT 1.31).

use onnxfit_base::Bytes;

use crate::program::{Place, ValueIdx};
use crate::simulate::{Compiled, SimulateOptions};

/// Tensors up to this size stay in the model's description and are copied into the session's
/// allocator; larger ones keep the heap block or the file mapping they were read into
/// (`kSmallTensorExternalDataThreshold`).
const SMALL_BYTES_MAX: Bytes = Bytes(127);

/// One weight that an arena of the session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredWeight {
    pub(crate) value: ValueIdx,
    pub(crate) bytes: Bytes,
    pub(crate) place: Place,
    /// Taken from the device directly, not from the arena's regions.
    pub(crate) reserved: bool,
}

/// The weights that pass through an arena, in file order.
pub(crate) fn stored(compiled: &Compiled, options: &SimulateOptions) -> Vec<StoredWeight> {
    let mut stored = Vec::new();
    for weight in &compiled.program.weights {
        let place = compiled.plan.place[weight.value.index()];
        let (value, bytes) = (weight.value, weight.bytes);
        match place {
            Place::Device => {
                let reserved = options.use_device_allocator_for_initializers;
                stored.push(StoredWeight { value, bytes, place, reserved });
            }
            _ if !weight.external && bytes <= SMALL_BYTES_MAX => {
                stored.push(StoredWeight { value, bytes, place: Place::Host, reserved: true });
            }
            _ => {}
        }
    }
    stored
}
