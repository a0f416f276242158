//! One run of one program: the execution frame.

use std::collections::BTreeMap;
use std::rc::Rc;

use onnxfit_base::Bytes;

use super::machine::{Held, Machine};
use super::{Compiled, FailedNode, Failure, PatternGroup};
use crate::arena::{ArenaError, StreamTag};
use crate::pattern::{PatternPlanner, pattern_key};
use crate::plan::AllocKind;
use crate::program::{Node, NodeIdx, Place, ValueIdx};
use crate::sizes::RunSizes;
use crate::trace::{BlockId, Event, Owner, OwnerKind};
use crate::workspace::{self, Call, Step};

/// The patterns of every program of the session, by its number and key.
pub(crate) type PatternCache = BTreeMap<(usize, u64), Rc<PatternGroup>>;

/// The one compute stream of a CUDA session.
const STREAM: StreamTag = StreamTag(0);

/// Where a value's bytes are.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Not allocated, or not by this frame.
    Empty,
    /// A block of its own.
    Own(Held),
    /// A place in the pattern block.
    InBlock(BlockId),
}

pub(crate) struct Frame<'a> {
    compiled: &'a Compiled,
    sizes: &'a RunSizes,
    slots: Vec<Slot>,
    pattern: Option<Rc<PatternGroup>>,
    blocks: BTreeMap<Place, Held>,
    tracers: Option<BTreeMap<Place, PatternPlanner<ValueIdx>>>,
}

impl<'a> Frame<'a> {
    /// Runs the main program; the result is what the caller then holds.
    pub(crate) fn run_session(
        compiled: &'a Compiled,
        sizes: &'a RunSizes,
        machine: &mut Machine,
        patterns: &mut PatternCache,
    ) -> Result<Vec<Held>, Failure> {
        let feeds = copy_feeds(compiled, sizes, machine)?;
        let key = (compiled.number, feed_key(compiled, sizes));
        let uses_patterns = machine.mem_pattern && compiled.program.inputs_have_rank;
        let pattern = uses_patterns.then(|| patterns.get(&key).cloned()).flatten();
        let mut frame = Self {
            compiled,
            sizes,
            slots: vec![Slot::Empty; compiled.program.values.len()],
            tracers: (uses_patterns && pattern.is_none()).then(BTreeMap::new),
            pattern,
            blocks: BTreeMap::new(),
        };
        frame.take_blocks(machine);
        let ran = frame.run_nodes(machine);
        // A failed run stores nothing.
        if let Some(tracers) = frame.tracers.take().filter(|_| ran.is_ok()) {
            let group = tracers.into_iter().map(|(place, planner)| (place, planner.finish())).collect();
            patterns.insert(key, Rc::new(group));
        }
        let outputs = frame.close(machine, ran.is_ok());
        let copies = ran.and_then(|()| copy_outputs(compiled, sizes, machine, outputs));
        for feed in feeds {
            machine.free(feed);
        }
        machine.release_stream(STREAM);
        copies
    }

    /// Takes the block of a known pattern; the run goes on without one that cannot be had.
    fn take_blocks(&mut self, machine: &mut Machine) {
        let Some(pattern) = self.pattern.clone() else { return };
        for (&place, pattern) in pattern.iter() {
            if pattern.peak_bytes == Bytes::ZERO {
                continue;
            }
            let owner = Owner {
                kind: OwnerKind::PatternBlock,
                name: "memory pattern".into(),
                node: "".into(),
                op_type: "".into(),
            };
            if let Ok(held) = machine.alloc(place, pattern.peak_bytes, Some(STREAM), owner) {
                self.blocks.insert(place, held);
            }
        }
    }

    fn run_nodes(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        for &index in &self.compiled.plan.order {
            let (name, op_type) = self.compiled.node_names[index.index()].clone();
            machine.trace.push(Event::Node { name, op_type });
            let node = self.compiled.program.node(index);
            self.run_node(index, node, machine).map_err(|(place, error)| Failure {
                run: None,
                node: Some(FailedNode { name: node.name.clone(), op_type: node.op_type.clone() }),
                place,
                error,
            })?;
            for &value in &self.compiled.plan.released_after[index.index()] {
                self.release(value, machine);
            }
        }
        Ok(())
    }

    fn run_node(&mut self, index: NodeIdx, node: &Node, machine: &mut Machine) -> Result<(), (Place, ArenaError)> {
        let script = workspace::script(&Call { node, sizes: self.sizes, n_threads: machine.n_threads });
        let mut scratch: Vec<Option<Held>> = Vec::new();
        let mut failed = None;
        for step in script {
            let done = match step {
                Step::Output(position) => match node.output(position) {
                    Some(output) => self.allocate(output, machine),
                    None => Ok(()),
                },
                Step::Scratch { what, bytes } => {
                    let place = node_place(node);
                    let (node_name, op_type) = self.compiled.node_names[index.index()].clone();
                    let owner = Owner { kind: OwnerKind::Scratch, name: what.into(), node: node_name, op_type };
                    machine
                        .alloc(place, bytes, Some(STREAM), owner)
                        .map(|held| scratch.push(Some(held)))
                        .map_err(|error| (place, error))
                }
                Step::Give(number) => {
                    if let Some(held) = scratch.get_mut(number).and_then(Option::take) {
                        machine.free(held);
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                failed = Some(error);
                break;
            }
        }
        for held in scratch.into_iter().rev().flatten() {
            machine.free(held);
        }
        failed.map_or(Ok(()), Err)
    }

    /// `AllocateAsPerAllocationPlan`: memory of its own, a place in the block, or nothing to do.
    fn allocate(&mut self, value: ValueIdx, machine: &mut Machine) -> Result<(), (Place, ArenaError)> {
        let kind = self.compiled.plan.kind[value.index()];
        if !matches!(kind, AllocKind::Allocate | AllocKind::Output) {
            return Ok(());
        }
        let place = self.compiled.plan.place[value.index()];
        let bytes = self.sizes.bytes(value);
        let rounded = bytes.checked_round_up(crate::arena::QUANTUM.0).unwrap_or(bytes);
        let producer = self.compiled.producers[value.index()];
        if kind == AllocKind::Allocate {
            let owner = self.compiled.owner(OwnerKind::Activation, value, producer);
            if let Some(id) = self.place_in_block(value, place, rounded, &owner, machine) {
                self.slots[value.index()] = Slot::InBlock(id);
                return Ok(());
            }
            let held = machine.alloc(place, bytes, Some(STREAM), owner).map_err(|error| (place, error))?;
            self.slots[value.index()] = Slot::Own(held);
            let traced = self.traced(value);
            if let Some(tracers) = self.tracers.as_mut().filter(|_| traced) {
                tracers.entry(place).or_default().alloc(value, rounded);
            }
        } else {
            let owner = self.compiled.owner(OwnerKind::Output, value, producer);
            let held = machine.alloc(place, bytes, Some(STREAM), owner).map_err(|error| (place, error))?;
            self.slots[value.index()] = Slot::Own(held);
        }
        Ok(())
    }

    /// A tensor fits its pattern block only if its rounded size is the one that was traced.
    fn place_in_block(
        &self,
        value: ValueIdx,
        place: Place,
        rounded: Bytes,
        owner: &Owner,
        machine: &mut Machine,
    ) -> Option<BlockId> {
        let block = self.blocks.get(&place)?;
        let spot = self.pattern.as_ref()?.get(&place)?.blocks.get(&value).filter(|spot| spot.bytes == rounded)?;
        let id = machine.trace.fresh_id();
        if spot.bytes > Bytes::ZERO {
            machine.trace.push(Event::Put {
                block: block.id,
                id,
                offset_bytes: spot.offset_bytes,
                bytes: spot.bytes,
                owner: owner.clone(),
            });
        }
        Some(id)
    }

    /// Strings need constructors, so they are kept out of patterns.
    fn traced(&self, value: ValueIdx) -> bool {
        self.compiled.program.value(value).element != Some(onnxfit_onnx::DataType::String)
    }

    fn release(&mut self, value: ValueIdx, machine: &mut Machine) {
        self.drop_slot(value, machine);
        let place = self.compiled.plan.place[value.index()];
        if let Some(planner) = self.tracers.as_mut().and_then(|tracers| tracers.get_mut(&place)) {
            planner.free(value);
        }
    }

    fn drop_slot(&mut self, value: ValueIdx, machine: &mut Machine) {
        match std::mem::replace(&mut self.slots[value.index()], Slot::Empty) {
            Slot::Empty => {}
            Slot::Own(held) => machine.free(held),
            Slot::InBlock(id) => {
                machine.trace.push(Event::Drop { id });
            }
        }
    }

    /// Ends the frame: what nobody released, then the blocks. Outputs go to the caller, unless the
    /// run failed.
    fn close(mut self, machine: &mut Machine, succeeded: bool) -> Vec<(ValueIdx, Held)> {
        let mut outputs = Vec::new();
        for index in 0..self.slots.len() {
            let value = ValueIdx::new(index);
            let kept = succeeded && self.compiled.plan.kind[index] == AllocKind::Output;
            match self.slots[index] {
                Slot::Own(held) if kept => {
                    self.slots[index] = Slot::Empty;
                    outputs.push((value, held));
                }
                _ => self.drop_slot(value, machine),
            }
        }
        for (_, block) in std::mem::take(&mut self.blocks) {
            machine.free(block);
        }
        outputs
    }
}

const fn node_place(node: &Node) -> Place {
    match node.provider {
        crate::program::NodeProvider::Cpu => Place::Host,
        crate::program::NodeProvider::Cuda => Place::Device,
    }
}

fn feed_key(compiled: &Compiled, sizes: &RunSizes) -> u64 {
    pattern_key(compiled.program.inputs.iter().filter_map(|&input| Some(sizes.tensor(input)?.dims.as_slice())))
}

/// Feeds that the device reads are copied there and live to the end of the run.
fn copy_feeds(compiled: &Compiled, sizes: &RunSizes, machine: &mut Machine) -> Result<Vec<Held>, Failure> {
    let mut feeds = Vec::new();
    if !machine.has_device() {
        return Ok(feeds);
    }
    for &input in &compiled.program.inputs {
        if compiled.plan.place[input.index()] != Place::Device {
            continue;
        }
        let owner = compiled.owner(OwnerKind::Feed, input, None);
        match machine.alloc(Place::Device, sizes.bytes(input), Some(STREAM), owner) {
            Ok(held) => feeds.push(held),
            Err(error) => {
                for feed in feeds {
                    machine.free(feed);
                }
                return Err(Failure { run: None, node: None, place: Place::Device, error });
            }
        }
    }
    Ok(feeds)
}

/// Device outputs are copied into host memory, then die.
fn copy_outputs(
    compiled: &Compiled,
    sizes: &RunSizes,
    machine: &mut Machine,
    outputs: Vec<(ValueIdx, Held)>,
) -> Result<Vec<Held>, Failure> {
    let mut copies = Vec::new();
    let mut dying = Vec::new();
    let mut failure = None;
    for (value, held) in outputs {
        if held.place != Place::Device {
            copies.push(held);
            continue;
        }
        dying.push(held);
        let owner = compiled.owner(OwnerKind::OutputCopy, value, compiled.producers[value.index()]);
        match machine.alloc(Place::Host, sizes.bytes(value), None, owner) {
            Ok(copy) => copies.push(copy),
            Err(error) => failure = Some(Failure { run: None, node: None, place: Place::Host, error }),
        }
    }
    for held in dying {
        machine.free(held);
    }
    match failure {
        None => Ok(copies),
        Some(failure) => {
            for copy in copies {
                machine.free(copy);
            }
            Err(failure)
        }
    }
}
