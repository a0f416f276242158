//! Where weights lie once the session is created.
//!
//! `session_state_utils.cc:SaveInitializedTensors` and `graph.cc` (ORT 1.31).

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use onnxfit_base::Bytes;

use crate::prepack::Buffer;
use crate::program::{Place, Program, ValueIdx, Weight};
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

/// The weight behind each value, found without a search.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeightIndex(Vec<u32>);

impl WeightIndex {
    const NONE: u32 = u32::MAX;

    pub(crate) fn of(program: &Program) -> Self {
        let mut index = vec![Self::NONE; program.values.len()];
        // The first of a value counts.
        for (at, weight) in program.weights.iter().enumerate().rev() {
            index[weight.value.index()] = at as u32;
        }
        // A copy on the other device holds what its original holds, if that comes first.
        for (at, value) in program.values.iter().enumerate() {
            if let Some(original) = value.copy_of {
                index[at] = index[at].min(index[original.index()]);
            }
        }
        Self(index)
    }

    /// The weight that a value is, or is a copy of.
    pub(crate) fn get<'a>(&self, program: &'a Program, value: ValueIdx) -> Option<&'a Weight> {
        program.weights.get(*self.0.get(value.index())? as usize)
    }
}

/// What loading has done so far: which packed copies exist, and which originals are still needed.
#[derive(Debug)]
pub(crate) struct LoadState<'a> {
    packed: BTreeSet<(&'a str, u64, Vec<Buffer>)>,
    uses_left: HashMap<&'a str, usize>,
    /// Small weights that were copied into the host arena.
    stored: HashMap<&'a str, Held>,
    /// The same by value, where no body can read a weight by its name.
    alone: Option<Alone<'a>>,
}

/// The weights of a session with one program, found without their names.
#[derive(Debug)]
struct Alone<'a> {
    program: &'a Program,
    uses_left: Vec<Option<usize>>,
    stored: Vec<Option<Held>>,
}

impl<'a> LoadState<'a> {
    /// Counts the readers of every weight, bodies included (`ComputeConstantInitializerUseCount`).
    pub(crate) fn new(compiled: &'a Compiled) -> Self {
        let mut state =
            Self { packed: BTreeSet::new(), uses_left: HashMap::new(), stored: HashMap::new(), alone: None };
        if compiled.bodies.is_empty() {
            let program: &Program = &compiled.program;
            let constant = program.weights.iter().filter(|weight| !weight.overridable);
            let counts = uses_of(program, constant.map(|weight| weight.value));
            let stored = vec![None; program.values.len()];
            let uses_left = counts.into_iter().map(|count| count.filter(|count| *count > 0)).collect();
            state.alone = Some(Alone { program, uses_left, stored });
        } else {
            count_uses(compiled, &HashSet::new(), &mut state.uses_left);
        }
        state
    }

    /// Notes where a small weight lies.
    pub(crate) fn stores(&mut self, program: &'a Program, weight: ValueIdx, held: Held) {
        match &mut self.alone {
            Some(alone) => alone.stored[weight.index()] = Some(held),
            None => {
                self.stored.insert(&program.value(weight).name, held);
            }
        }
    }

    /// The original of a weight whose last reader has packed it: it is freed at once.
    pub(crate) fn gives_up(&mut self, program: &Program, weight: ValueIdx) -> Option<Held> {
        if let Some(alone) = &mut self.alone {
            return if alone.uses_left[weight.index()] == Some(0) { alone.stored[weight.index()].take() } else { None };
        }
        let name = program.value(weight).name.as_str();
        if self.uses_left.get(name) == Some(&0) { self.stored.remove(name) } else { None }
    }

    /// Notes that a node packed a weight. False if an equal copy exists already: that one is used
    /// and this one freed.
    pub(crate) fn keeps(
        &mut self,
        program: &Program,
        op_type: &'a str,
        weight: ValueIdx,
        identity: u64,
        buffers: Vec<Buffer>,
    ) -> bool {
        let left = match &mut self.alone {
            Some(alone) => alone.uses_left[weight.index()].as_mut(),
            None => self.uses_left.get_mut(program.value(weight).name.as_str()),
        };
        if let Some(left) = left {
            *left = left.saturating_sub(1);
        }
        self.packed.insert((op_type, identity, buffers))
    }

    /// The weights whose originals were given up because every reader packed them.
    pub(crate) fn released(self) -> BTreeSet<String> {
        if let Some(Alone { program, uses_left, .. }) = self.alone {
            let released = uses_left.iter().enumerate().filter(|(_, left)| **left == Some(0));
            return released.map(|(value, _)| program.values[value].name.to_string()).collect();
        }
        self.uses_left.into_iter().filter(|(_, left)| *left == 0).map(|(name, _)| name.to_owned()).collect()
    }
}

/// By value: how often each of these weights is read by the program's nodes and outputs.
fn uses_of(program: &Program, weights: impl Iterator<Item = ValueIdx>) -> Vec<Option<usize>> {
    let mut counts: Vec<Option<usize>> = vec![None; program.values.len()];
    for weight in weights {
        counts[weight.index()] = Some(0);
    }
    let read = program.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
    for value in read.chain(&program.outputs) {
        if let Some(count) = &mut counts[value.index()] {
            *count += 1;
        }
    }
    counts
}

fn count_uses<'a>(compiled: &'a Compiled, outer: &HashSet<&'a str>, uses: &mut HashMap<&'a str, usize>) {
    let program = &compiled.program;
    let name = |value: ValueIdx| program.value(value).name.as_str();
    let own = program.weights.iter().filter(|weight| !weight.overridable).map(|weight| weight.value);
    let captured = program.captured.iter().map(|capture| capture.inner).filter(|value| outer.contains(name(*value)));
    // Of this program and of those around it.
    let counts = uses_of(program, own.clone().chain(captured));
    for (value, count) in counts.iter().enumerate() {
        if let Some(count) = count.filter(|count| *count > 0) {
            *uses.entry(name(ValueIdx::new(value))).or_default() += count;
        }
    }
    if !compiled.bodies.is_empty() {
        let visible: HashSet<&str> = outer.iter().copied().chain(own.map(name)).collect();
        for body in compiled.bodies.values() {
            count_uses(body, &visible, uses);
        }
    }
}
