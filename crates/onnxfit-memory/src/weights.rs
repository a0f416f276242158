//! Where weights lie once the session is created.
//!
//! `session_state_utils.cc:SaveInitializedTensors` and `graph.cc` (ORT 1.31).

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;

use crate::prepack::Buffer;
use crate::program::{Place, ValueIdx};
use crate::releases::{FormerRule, holds};
use crate::simulate::{Compiled, Held, SimulateOptions};

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
                let reserved = !holds(FormerRule::SmallWeightsInRegions, options.release);
                stored.push(StoredWeight { value, bytes, place: Place::Host, reserved });
            }
            _ => {}
        }
    }
    stored
}

/// What loading has done so far: which packed copies exist, and which originals are still needed.
#[derive(Debug)]
pub(crate) struct LoadState {
    packed: BTreeSet<(String, u64, Vec<Buffer>)>,
    uses_left: BTreeMap<String, usize>,
    /// Small weights that were copied into the host arena.
    stored: BTreeMap<String, Held>,
}

impl LoadState {
    /// Counts the readers of every weight, bodies included (`ComputeConstantInitializerUseCount`).
    pub(crate) fn new(compiled: &Compiled) -> Self {
        let mut uses_left = BTreeMap::new();
        count_uses(compiled, &BTreeSet::new(), &mut uses_left);
        Self { packed: BTreeSet::new(), uses_left, stored: BTreeMap::new() }
    }

    /// Notes where a small weight lies.
    pub(crate) fn stores(&mut self, weight: &str, held: Held) {
        self.stored.insert(weight.to_owned(), held);
    }

    /// The original of a weight whose last reader has packed it: it is freed at once.
    pub(crate) fn gives_up(&mut self, weight: &str) -> Option<Held> {
        if self.uses_left.get(weight) == Some(&0) { self.stored.remove(weight) } else { None }
    }

    /// Notes that a node packed a weight. False if an equal copy exists already: that one is used
    /// and this one freed.
    pub(crate) fn keeps(&mut self, op_type: &str, weight: &str, identity: u64, buffers: Vec<Buffer>) -> bool {
        if let Some(left) = self.uses_left.get_mut(weight) {
            *left = left.saturating_sub(1);
        }
        self.packed.insert((op_type.to_owned(), identity, buffers))
    }

    /// The weights whose originals were given up because every reader packed them.
    pub(crate) fn released(self) -> BTreeSet<String> {
        self.uses_left.into_iter().filter(|(_, left)| *left == 0).map(|(name, _)| name).collect()
    }
}

fn count_uses(compiled: &Compiled, outer: &BTreeSet<String>, uses: &mut BTreeMap<String, usize>) {
    let program = &compiled.program;
    let mut visible = outer.clone();
    for weight in program.weights.iter().filter(|weight| !weight.overridable) {
        visible.insert(program.value(weight.value).name.clone());
    }
    let read = program.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
    for value in read.chain(&program.outputs) {
        let name = &program.value(*value).name;
        if visible.contains(name) {
            *uses.entry(name.clone()).or_default() += 1;
        }
    }
    for body in compiled.bodies.values() {
        count_uses(body, &visible, uses);
    }
}
