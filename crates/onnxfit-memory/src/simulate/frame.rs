//! One run of one program: the execution frame.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use onnxfit_base::Bytes;

use super::machine::{Held, Machine};
use super::sequences::{Blocks, give_up};
use super::{Compiled, FailedNode, Failure, N_PLACES, PatternGroup, PlacedPattern, feeds};
use crate::arena::{ArenaError, QUANTUM, StreamTag};
use crate::pattern::{PatternBlock, PatternPlanner, pattern_key};
use crate::plan::AllocKind;
use crate::program::{Node, NodeIdx, NodeProvider, Place, ValueIdx};
use crate::sizes::RunSizes;
use crate::trace::{BlockId, Event, NameRef, OwnerKind, OwnerRef};
use crate::workspace::{Call, Step};

/// The one compute stream of a CUDA session.
pub(super) const STREAM: StreamTag = StreamTag(0);

/// Why a step failed: the arena's answer, or a failure inside a body that names its own node.
pub(super) enum Refusal {
    Arena(Place, ArenaError),
    Inner(Failure),
}

impl From<(Place, ArenaError)> for Refusal {
    fn from((place, error): (Place, ArenaError)) -> Self {
        Self::Arena(place, error)
    }
}

/// Where a body's outputs go when their size is known only as they are made: into the outputs of
/// the node that owns the body.
pub(super) trait Sink {
    /// Allocates the owner's output at a position, `bytes` large.
    fn allocate(&mut self, position: usize, bytes: Bytes, machine: &mut Machine) -> Result<(), Refusal>;
}

/// Where a value's bytes are.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Not allocated, or not by this frame.
    Empty,
    /// A block of its own.
    Own(Held),
    /// A place in the pattern's block of an arena.
    InBlock { id: BlockId, place: Place, bytes: Bytes },
}

/// How an output of a body is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    /// By the frame itself; the caller takes it.
    Own,
    /// The owner allocated it before the body began.
    Given,
    /// The owner allocates its output at this position when the body asks.
    Delayed(usize),
}

pub(super) struct Frame<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) sizes: &'a RunSizes,
    slots: Vec<Slot>,
    fetches: BTreeMap<ValueIdx, Fetch>,
    key: (usize, u64),
    pattern: Option<Arc<PatternGroup>>,
    /// The pattern's blocks, by place.
    blocks: [Option<Held>; N_PLACES],
    tracers: Option<[PatternPlanner<ValueIdx>; N_PLACES]>,
    /// The elements of values that are sequences, by the value that owns them.
    pub(super) sequences: BTreeMap<ValueIdx, Blocks>,
}

/// What a frame leaves to its caller.
#[derive(Default)]
pub(super) struct Left {
    /// Blocks of outputs.
    pub(super) outputs: Vec<(ValueIdx, Held)>,
    /// Elements of outputs that are sequences.
    pub(super) sequences: Vec<(ValueIdx, Blocks)>,
}

impl<'a> Frame<'a> {
    /// Runs the main program; the result is what the caller then holds.
    pub(super) fn run_session(
        compiled: &'a Compiled,
        sizes: &'a RunSizes,
        machine: &mut Machine,
    ) -> Result<Vec<Held>, Failure> {
        let copied = feeds::copy_in(compiled, sizes, machine)?;
        let mut frame = Self::new(compiled, sizes, BTreeMap::new(), machine);
        let ran = frame.run(machine, None);
        let Left { outputs, sequences } = frame.close(machine, ran.is_ok());
        let mut kept = ran.and_then(|()| feeds::copy_out(compiled, sizes, machine, outputs));
        let elements = sequences.into_iter().flat_map(|(_, elements)| elements).filter_map(Rc::into_inner);
        match &mut kept {
            Ok(kept) => kept.extend(elements),
            Err(_) => elements.for_each(|held| machine.free(held)),
        }
        for feed in copied {
            machine.free(feed);
        }
        machine.release_stream(STREAM);
        kept
    }

    /// A frame that has taken nothing yet. `fetches` says where outputs go that it does not own.
    pub(super) fn new(
        compiled: &'a Compiled,
        sizes: &'a RunSizes,
        fetches: BTreeMap<ValueIdx, Fetch>,
        machine: &Machine,
    ) -> Self {
        let key = (compiled.number, feed_key(compiled, sizes));
        // An empty feed is no tensor, and with one no pattern is traced or used.
        let captured = &compiled.program.captured;
        let fed_empty = captured.iter().any(|capture| machine.released_weights.contains(capture.name.as_str()));
        let uses_patterns = machine.mem_pattern && compiled.allows_patterns && !fed_empty;
        let pattern = uses_patterns.then(|| machine.patterns.get(&key).cloned()).flatten();
        Self {
            compiled,
            sizes,
            slots: vec![Slot::Empty; compiled.program.values.len()],
            fetches,
            key,
            tracers: (uses_patterns && pattern.is_none()).then(Default::default),
            pattern,
            blocks: [None; N_PLACES],
            sequences: BTreeMap::new(),
        }
    }

    /// Runs every node; a pattern that was traced is kept only if all of them succeeded.
    pub(super) fn run(&mut self, machine: &mut Machine, sink: Option<&mut dyn Sink>) -> Result<(), Failure> {
        self.copy_weight_outputs(machine)?;
        self.take_blocks(machine);
        self.run_nodes(machine, sink)?;
        if let Some(tracers) = self.tracers.take() {
            let n_values = self.compiled.program.values.len();
            let group = tracers.map(|planner| PlacedPattern::new(planner, n_values));
            // The first pattern of a key stays.
            machine.patterns.entry(self.key).or_insert_with(|| Arc::new(group));
        }
        Ok(())
    }

    /// A weight that is an output is copied for the caller before anything else happens.
    fn copy_weight_outputs(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        for weight in self.compiled.program.weights.iter().filter(|weight| self.compiled.is_output(weight.value)) {
            let value = weight.value;
            if self.fetch(value) != Fetch::Own {
                continue;
            }
            let place = self.compiled.plan.place[value.index()];
            let owner = self.compiled.owner(OwnerKind::Output, value, None);
            let held = machine.alloc(place, weight.bytes, None, owner).map_err(|error| Failure {
                run: None,
                node: None,
                place,
                error,
            })?;
            self.slots[value.index()] = Slot::Own(held);
        }
        Ok(())
    }

    /// Takes the block of a known pattern; the run goes on without one that cannot be had.
    fn take_blocks(&mut self, machine: &mut Machine) {
        let Some(pattern) = self.pattern.clone() else { return };
        for place in [Place::Host, Place::Device, Place::Pinned] {
            let pattern = &pattern[place as usize];
            if pattern.peak_bytes == Bytes::ZERO {
                continue;
            }
            let name = NameRef::What("memory pattern");
            let owner = OwnerRef { kind: OwnerKind::PatternBlock, name, node: None };
            self.blocks[place as usize] = machine.alloc(place, pattern.peak_bytes, Some(STREAM), owner).ok();
        }
    }

    fn run_nodes(&mut self, machine: &mut Machine, mut sink: Option<&mut dyn Sink>) -> Result<(), Failure> {
        let compiled = self.compiled;
        for &index in &compiled.plan.order {
            machine.trace.push(Event::Node(compiled.node_ref(index)));
            let node = compiled.program.node(index);
            let kernel = &compiled.kernels[index.index()];
            let made = match kernel.maker {
                Some(maker) => self.run_maker(maker, index, node, machine),
                None => Ok(false),
            };
            let ran = match made {
                Ok(true) => Ok(()),
                Ok(false) if kernel.has_body => self.run_control(index, node, machine, &mut sink),
                Ok(false) => self.run_kernel(index, node, machine, &mut sink),
                Err(refusal) => Err(refusal),
            };
            ran.map_err(|refusal| match refusal {
                Refusal::Inner(failure) => failure,
                Refusal::Arena(place, error) => Failure {
                    run: None,
                    node: Some(FailedNode { name: node.name.to_string(), op_type: node.op_type.to_string() }),
                    place,
                    error,
                },
            })?;
            for &value in &compiled.plan.released_after[index.index()] {
                self.release(value, machine);
            }
        }
        Ok(())
    }

    fn run_kernel(
        &mut self,
        index: NodeIdx,
        node: &Node,
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        let script = self.compiled.kernels[index.index()].script.and_then(|script| {
            script.steps(&Call {
                node,
                sizes: self.sizes,
                n_threads: machine.n_threads,
                program: &self.compiled.program,
                weights: &self.compiled.weights,
                compute_capability: machine.compute_capability,
                bound: machine.workspace_bound,
                release: machine.release,
            })
        });
        let Some((script, is_banded)) = script else {
            // Outputs in order and nothing else.
            return node
                .present_outputs()
                .try_for_each(|output| self.allocate(output, self.sizes.bytes(output), machine, sink));
        };
        machine.has_bands |= is_banded;
        let place = match node.provider {
            NodeProvider::Cpu => Place::Host,
            NodeProvider::Cuda => Place::Device,
        };
        let mut scratch: Vec<Option<Held>> = Vec::new();
        let mut failed = None;
        for step in script {
            let done = match step {
                Step::Output(position) => match node.output(position) {
                    Some(output) => self.allocate(output, self.sizes.bytes(output), machine, sink),
                    None => Ok(()),
                },
                Step::Scratch { what, bytes } => {
                    self.take_scratch(index, place, what, bytes, machine).map(|held| scratch.push(Some(held)))
                }
                Step::Reserve { what, bytes } => {
                    let owner = self.compiled.owner_of_scratch(OwnerKind::Scratch, what, index);
                    let held = machine.reserve(place, bytes, owner).map_err(|error| Refusal::Arena(place, error));
                    held.map(|held| scratch.push(Some(held)))
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

    /// Memory that a kernel holds until it gives it back.
    pub(super) fn take_scratch(
        &self,
        index: NodeIdx,
        place: Place,
        what: &'static str,
        bytes: Bytes,
        machine: &mut Machine,
    ) -> Result<Held, Refusal> {
        let owner = self.compiled.owner_of_scratch(OwnerKind::Scratch, what, index);
        machine.alloc(place, bytes, Some(STREAM), owner).map_err(|error| Refusal::Arena(place, error))
    }

    fn fetch(&self, value: ValueIdx) -> Fetch {
        if self.fetches.is_empty() {
            return Fetch::Own;
        }
        self.fetches.get(&value).copied().unwrap_or(Fetch::Own)
    }

    /// `AllocateAsPerAllocationPlan`: memory of its own, a place in the block, or nothing to do.
    pub(super) fn allocate(
        &mut self,
        value: ValueIdx,
        bytes: Bytes,
        machine: &mut Machine,
        sink: &mut Option<&mut dyn Sink>,
    ) -> Result<(), Refusal> {
        let place = self.compiled.plan.place[value.index()];
        let producer = self.compiled.producers[value.index()];
        match self.compiled.plan.kind[value.index()] {
            AllocKind::Allocate => {
                let rounded = bytes.checked_round_up(QUANTUM.0).unwrap_or(bytes);
                let owner = self.compiled.owner(OwnerKind::Activation, value, producer);
                if let Some(block) = self.blocks[place as usize]
                    && let Some(spot) = self.spot(value, place).filter(|spot| spot.bytes == rounded)
                {
                    let id = machine.put(block, spot, owner);
                    self.slots[value.index()] = Slot::InBlock { id, place, bytes: spot.bytes };
                    return Ok(());
                }
                let held = machine.alloc(place, bytes, Some(STREAM), owner).map_err(|error| (place, error))?;
                self.slots[value.index()] = Slot::Own(held);
                let traced = self.is_traced(value);
                if let Some(tracers) = self.tracers.as_mut().filter(|_| traced) {
                    tracers[place as usize].alloc(value, rounded);
                }
            }
            AllocKind::Output => match (self.fetch(value), sink) {
                (Fetch::Given, _) => {}
                (Fetch::Delayed(position), Some(sink)) => sink.allocate(position, bytes, machine)?,
                _ => {
                    let owner = self.compiled.owner(OwnerKind::Output, value, producer);
                    let held = machine.alloc(place, bytes, Some(STREAM), owner).map_err(|error| (place, error))?;
                    self.slots[value.index()] = Slot::Own(held);
                }
            },
            _ => {}
        }
        Ok(())
    }

    /// Where the pattern puts a tensor; it fits there only if its rounded size is the one that was traced.
    fn spot(&self, value: ValueIdx, place: Place) -> Option<PatternBlock> {
        self.pattern.as_ref()?[place as usize].spots.get(value.index()).copied().flatten()
    }

    /// Strings need constructors, so they are kept out of patterns.
    fn is_traced(&self, value: ValueIdx) -> bool {
        self.compiled.program.value(value).element != Some(onnxfit_onnx::DataType::String)
    }

    fn release(&mut self, value: ValueIdx, machine: &mut Machine) {
        self.drop_slot(value, machine);
        if let Some(elements) = self.sequences.remove(&value) {
            give_up(elements, machine);
        }
        if let Some(tracers) = &mut self.tracers {
            tracers[self.compiled.plan.place[value.index()] as usize].free(value);
        }
    }

    fn drop_slot(&mut self, value: ValueIdx, machine: &mut Machine) {
        match std::mem::replace(&mut self.slots[value.index()], Slot::Empty) {
            Slot::Empty => {}
            Slot::Own(held) => machine.free(held),
            Slot::InBlock { id, place, bytes } => machine.drop_tensor(id, place, bytes),
        }
    }

    /// Ends the frame: what nobody released, then the blocks. Outputs go to the caller, unless the
    /// run failed.
    pub(super) fn close(mut self, machine: &mut Machine, succeeded: bool) -> Left {
        let mut left = Left::default();
        for index in 0..self.slots.len() {
            let value = ValueIdx::new(index);
            let kept =
                succeeded && (self.compiled.plan.kind[index] == AllocKind::Output || self.compiled.is_output(value));
            match self.slots[index] {
                Slot::Own(held) if kept => {
                    self.slots[index] = Slot::Empty;
                    left.outputs.push((value, held));
                }
                _ => self.drop_slot(value, machine),
            }
        }
        if succeeded && !self.sequences.is_empty() {
            let outputs = self.compiled.program.outputs.iter();
            left.sequences = outputs.filter_map(|output| Some((*output, self.elements(*output)?.clone()))).collect();
        }
        for elements in std::mem::take(&mut self.sequences).into_values() {
            give_up(elements, machine);
        }
        for block in std::mem::take(&mut self.blocks).into_iter().flatten() {
            machine.free(block);
        }
        left
    }
}

/// The dimensions of everything that is fed: explicit inputs, then captured values.
fn feed_key(compiled: &Compiled, sizes: &RunSizes) -> u64 {
    let program = &compiled.program;
    let fed = program.inputs.iter().copied().chain(program.captured.iter().map(|capture| capture.inner));
    pattern_key(fed.filter_map(|input| Some(sizes.tensor(input)?.dims.as_slice())))
}
