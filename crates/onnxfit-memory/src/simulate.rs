//! The session, replayed: load, then runs, every allocation through the arenas.
//!
//! `execution_frame.cc`, `sequential_executor.cc` and `session_state_utils.cc` (ORT 1.31).

mod control;
mod feeds;
mod frame;
mod machine;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::arena::{ArenaConfig, ArenaError, ArenaStats};
use crate::overhead::Bound;
use crate::plan::Plan;
use crate::prepack::{self, OuterWeight};
use crate::program::{NodeIdx, Place, Program, ValueIdx};
use crate::releases::Release;
use crate::sizes::RunSizes;
use crate::trace::{Event, Owner, OwnerKind, Trace};
use crate::weights::{self, LoadState};
use crate::workspace::cuda::persistent::persistent;

use frame::Frame;
pub(crate) use machine::Held;
use machine::Machine;

/// A program with the plans of itself and of its subgraphs.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The program.
    pub program: Program,
    /// Its plan.
    pub plan: Plan,
    /// The subgraphs, by node and attribute.
    pub bodies: BTreeMap<(NodeIdx, String), Compiled>,
    /// A number of its own among all programs of the session.
    pub(crate) number: usize,
    /// Whether every feed is a tensor, which memory patterns need.
    pub(crate) allows_patterns: bool,
    pub(crate) value_names: Vec<Rc<str>>,
    pub(crate) node_names: Vec<(Rc<str>, Rc<str>)>,
    pub(crate) producers: Vec<Option<NodeIdx>>,
}

/// What the replay depends on besides programs and shapes.
#[derive(Clone, Debug)]
pub struct SimulateOptions {
    /// The CPU provider's arena.
    pub host_arena: ArenaConfig,
    /// The CUDA device arena; `None` for a CPU session.
    pub device_arena: Option<ArenaConfig>,
    /// `enable_mem_pattern`.
    pub mem_pattern: bool,
    /// Whether kernels repack weights at load.
    pub prepacking: bool,
    /// `session.use_device_allocator_for_initializers`.
    pub use_device_allocator_for_initializers: bool,
    /// `memory.enable_memory_arena_shrinkage` after every run.
    pub shrink_after_run: bool,
    /// The release that runs it.
    pub release: Release,
    /// Intra-operator threads.
    pub n_threads: u64,
    /// The card's, such as `(7, 5)`; CUDA kernels choose by it.
    pub compute_capability: Option<(u32, u32)>,
    /// Which end of a band counts where a library decides how much scratch a kernel takes.
    pub workspace_bound: Bound,
}

/// Why a load or a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The run, from zero; `None` while loading.
    pub run: Option<usize>,
    /// The node, where the runtime names one.
    pub node: Option<FailedNode>,
    /// Which arena refused.
    pub place: Place,
    /// What it said.
    pub error: ArenaError,
}

/// The node in which an allocation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedNode {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op_type: String,
}

impl Failure {
    /// The text that the runtime reports, without the source location that it puts in the middle.
    pub fn message(&self) -> String {
        match &self.node {
            Some(node) => format!(
                "Non-zero status code returned while running {} node. Name:'{}' Status Message: {}",
                node.op_type, node.name, self.error
            ),
            None => self.error.to_string(),
        }
    }
}

/// The counters of all arenas at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaSnapshot {
    /// The CPU arena.
    pub host: ArenaStats,
    /// The CUDA device arena.
    pub device: Option<ArenaStats>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// At its end, before the caller releases the outputs; the peak is that of this run alone.
    pub at_end: ArenaSnapshot,
    /// After the caller released them.
    pub released: ArenaSnapshot,
    /// The event at which the host arena held most, for the list of who was alive.
    pub host_peak_event: usize,
    /// The same for the device arena.
    pub device_peak_event: usize,
}

/// A whole session.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// After the session was created.
    pub load: ArenaSnapshot,
    /// The event at which loading held most, host and device.
    pub load_peak_events: (usize, usize),
    /// One entry for every run that began.
    pub runs: Vec<RunOutcome>,
    /// The first failure; nothing happens after it.
    pub failure: Option<Failure>,
    /// Whether any kernel's scratch is a band, so that other bounds give other numbers.
    pub has_bands: bool,
    /// Every event.
    pub trace: Trace,
}

/// What one tensor placed in a pattern block needs to be found again.
pub(crate) type PatternGroup = BTreeMap<Place, crate::pattern::Pattern<ValueIdx>>;

/// Replays a session: one load, then one run for each element of `runs`.
pub fn simulate(compiled: &Compiled, options: &SimulateOptions, runs: &[RunSizes]) -> Outcome {
    let mut machine = Machine::new(options);
    let mut state = LoadState::new(compiled);
    let loaded = load(compiled, options, &mut machine, &BTreeMap::new(), &mut state);
    machine.trace.push(Event::Loaded);
    machine.released_weights = state.released();
    let mut outcome = Outcome {
        load: machine.snapshot(),
        load_peak_events: machine.peak_events(),
        runs: Vec::new(),
        failure: loaded.err(),
        has_bands: false,
        trace: Trace::default(),
    };
    for (run, sizes) in runs.iter().enumerate() {
        if outcome.failure.is_some() {
            break;
        }
        machine.begin_run();
        let sizes = complete(compiled, sizes);
        let result = Frame::run_session(compiled, &sizes, &mut machine);
        machine.trace.push(Event::RunEnds);
        let at_end = machine.snapshot();
        let (host_peak_event, device_peak_event) = machine.peak_events();
        let outputs = result.unwrap_or_else(|mut failure| {
            failure.run = Some(run);
            outcome.failure = Some(failure);
            Vec::new()
        });
        for output in outputs {
            machine.free(output);
        }
        if options.shrink_after_run {
            machine.shrink();
        }
        let released = machine.snapshot();
        outcome.runs.push(RunOutcome { at_end, released, host_peak_event, device_peak_event });
    }
    outcome.has_bands = machine.has_bands;
    outcome.trace = machine.into_trace();
    outcome
}

/// The sizes of a run, with those that need no shape inference: weights, and the copies that
/// placement added.
fn complete<'a>(compiled: &Compiled, sizes: &'a RunSizes) -> Cow<'a, RunSizes> {
    let values = &compiled.program.values;
    let mut all = Cow::Borrowed(sizes);
    for weight in compiled.program.weights.iter().filter(|weight| weight.size.is_some()) {
        if sizes.tensor(weight.value).is_none() {
            let all = all.to_mut();
            all.tensors.resize(values.len().max(all.tensors.len()), None);
            all.tensors[weight.value.index()].clone_from(&weight.size);
        }
    }
    if values.len() > sizes.tensors.len() {
        let all = all.to_mut();
        all.tensors.resize(values.len(), None);
        for (index, value) in values.iter().enumerate() {
            if let Some(original) = value.copy_of {
                all.tensors[index] = all.tensors[original.index()].clone();
            }
        }
    }
    all
}

/// Weights first, then what kernels make of them.
///
/// `outer` holds the constant weights of the enclosing graphs, which bodies repack for themselves.
fn load(
    compiled: &Compiled,
    options: &SimulateOptions,
    machine: &mut Machine,
    outer: &BTreeMap<String, OuterWeight>,
    state: &mut LoadState,
) -> Result<(), Failure> {
    for stored in weights::stored(compiled, options) {
        let owner = compiled.owner(OwnerKind::Weight, stored.value, None);
        let held = if stored.reserved {
            machine.reserve(stored.place, stored.bytes, owner)
        } else {
            machine.alloc(stored.place, stored.bytes, None, owner)
        };
        let held = held.map_err(|error| Failure { run: None, node: None, place: stored.place, error })?;
        if stored.place == Place::Host {
            state.stores(&compiled.program.value(stored.value).name, held);
        }
    }
    if machine.has_device() {
        for taken in persistent(&compiled.program) {
            let (node, op_type) = compiled.node_names[taken.node.index()].clone();
            let owner = Owner { kind: OwnerKind::Prepacked, name: taken.what.into(), node, op_type };
            let held = if taken.reserved {
                machine.reserve(Place::Device, taken.bytes, owner)
            } else {
                machine.alloc(Place::Device, taken.bytes, None, owner)
            };
            held.map_err(|error| Failure { run: None, node: None, place: Place::Device, error })?;
        }
    }
    if options.prepacking {
        for packed in prepack::packed(&compiled.program, outer) {
            let node = compiled.program.node(packed.node);
            let mut taken = Vec::new();
            for buffer in &packed.buffers {
                let owner = compiled.owner(OwnerKind::Prepacked, packed.weight, Some(packed.node));
                let held = if buffer.reserved {
                    machine.reserve(Place::Host, buffer.bytes, owner)
                } else {
                    machine.alloc(Place::Host, buffer.bytes, None, owner)
                };
                taken.push(held.map_err(|error| Failure { run: None, node: None, place: Place::Host, error })?);
            }
            let mut temporary = packed.buffers.iter().map(|buffer| buffer.temporary);
            let (given_back, taken): (Vec<_>, Vec<_>) =
                taken.into_iter().partition(|_| temporary.next().unwrap_or_default());
            for held in given_back {
                machine.free(held);
            }
            let name = &compiled.program.value(packed.weight).name;
            if !state.keeps(&node.op_type, name, packed.identity, packed.buffers) && packed.shared {
                for held in taken {
                    machine.free(held);
                }
            }
            if let Some(original) = state.gives_up(name) {
                machine.free(original);
            }
        }
    }
    if !compiled.bodies.is_empty() {
        let mut visible = outer.clone();
        for weight in compiled.program.weights.iter().filter(|weight| !weight.overridable) {
            let name = compiled.program.value(weight.value).name.clone();
            let outer = weight.size.clone().map(|size| OuterWeight { size, identity: weight.identity });
            visible.extend(outer.map(|outer| (name, outer)));
        }
        for body in compiled.bodies.values() {
            load(body, options, machine, &visible, state)?;
        }
    }
    Ok(())
}
