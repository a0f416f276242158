//! The session, replayed: load, then runs, every allocation through the arenas.
//!
//! `execution_frame.cc`, `sequential_executor.cc` and `session_state_utils.cc` (ORT 1.31).

mod control;
mod feeds;
mod frame;
mod machine;
mod sequences;

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use onnxfit_base::Bytes;

use crate::arena::{ArenaConfig, ArenaError, ArenaStats};
use crate::overhead::Bound;
use crate::pattern::{PatternBlock, PatternPlanner};
use crate::peak::PeakEvents;
use crate::plan::Plan;
use crate::prepack::{self, OuterWeight};
use crate::program::{NodeIdx, Place, Program, ValueIdx};
use crate::releases::Release;
use crate::sizes::RunSizes;
use crate::trace::{Event, OwnerKind, Trace};
use crate::weights::{self, LoadState, WeightIndex};
use crate::workspace::Script;
use crate::workspace::cuda::persistent::persistent;

use frame::Frame;
pub(crate) use machine::Held;
use machine::{Machine, MachineState, Mark};
pub(crate) use sequences::Maker;

/// A program with the plans of itself and of its subgraphs.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The program.
    pub program: Arc<Program>,
    /// Its plan.
    pub plan: Plan,
    /// The subgraphs, by node and attribute.
    pub bodies: BTreeMap<(NodeIdx, String), Compiled>,
    /// A number of its own among all programs of the session.
    pub(crate) number: usize,
    /// Whether every feed is a tensor, which memory patterns need.
    pub(crate) allows_patterns: bool,
    pub(crate) producers: Vec<Option<NodeIdx>>,
    /// By node: what its operator's tables say.
    pub(crate) kernels: Vec<Kernel>,
    /// By value: the weight behind it.
    pub(crate) weights: WeightIndex,
    /// By value: whether the program gives it to its caller.
    pub(crate) is_output: Vec<bool>,
    /// What loading left with the options that it was first loaded with.
    pub(crate) loaded: OnceLock<Arc<Loaded>>,
}

/// A session once it is created, or why that failed.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    options: SimulateOptions,
    machine: Machine,
    failure: Option<Failure>,
}

impl Loaded {
    fn new(compiled: &Compiled, options: &SimulateOptions) -> Self {
        let mut machine = Machine::new(compiled, options);
        let mut state = LoadState::new(compiled);
        let loaded = load(compiled, options, &mut machine, &BTreeMap::new(), &mut state);
        machine.trace.push(Event::Loaded);
        machine.released_weights = Arc::new(state.released());
        Self { options: options.clone(), machine, failure: loaded.err() }
    }

    /// Loading is the same for the same options, whatever runs follow.
    fn of(compiled: &Compiled, options: &SimulateOptions) -> Self {
        let kept = compiled.loaded.get_or_init(|| Arc::new(Self::new(compiled, options)));
        if kept.options == *options { Self::clone(kept) } else { Self::new(compiled, options) }
    }
}

/// What the operator tables say about one node, looked up once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// What it allocates, if its operator has a rule.
    pub(crate) script: Option<Script>,
    /// Whether that, or that it allocates nothing besides its outputs, is known.
    pub(crate) is_modelled: bool,
    /// Whether it runs programs of its own.
    pub(crate) has_body: bool,
    /// How it makes a sequence, if it does.
    pub(crate) maker: Option<Maker>,
}

/// What the replay depends on besides programs and shapes.
#[derive(Clone, Debug, PartialEq)]
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
    /// When the arenas held most: before a shrinkage gave regions back, for within a run they only grow.
    pub fullest: ArenaSnapshot,
    /// At its end, before the caller releases the outputs; the peak is that of this run alone.
    pub at_end: ArenaSnapshot,
    /// After the caller released them.
    pub released: ArenaSnapshot,
    /// When the host arena held most, for the list of who was alive.
    pub host_peak: PeakEvents,
    /// The same for the device arena.
    pub device_peak: PeakEvents,
}

/// A whole session.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// After the session was created.
    pub load: ArenaSnapshot,
    /// When loading held most, host and device.
    pub load_peaks: (PeakEvents, PeakEvents),
    /// One entry for every run that began.
    pub runs: Vec<RunOutcome>,
    /// The first failure; nothing happens after it.
    pub failure: Option<Failure>,
    /// Whether any kernel's scratch is a band, so that other bounds give other numbers.
    pub has_bands: bool,
    /// Every event.
    pub trace: Trace,
}

/// Host, device, pinned.
pub(crate) const N_PLACES: usize = 3;

/// The patterns of one key, by place.
pub(crate) type PatternGroup = [PlacedPattern; N_PLACES];

/// A memory pattern in which a tensor is found by its value.
#[derive(Clone, Debug)]
pub(crate) struct PlacedPattern {
    /// The size of the whole block.
    pub(crate) peak_bytes: Bytes,
    /// Where each traced tensor lies, by value; empty if none was traced.
    pub(crate) spots: Vec<Option<PatternBlock>>,
}

impl PlacedPattern {
    fn new(planner: PatternPlanner<ValueIdx>, n_values: usize) -> Self {
        let (peak_bytes, placed) = planner.placed();
        let mut spots = vec![None; if placed.is_empty() { 0 } else { n_values }];
        for (value, spot) in placed {
            spots[value.index()] = Some(spot);
        }
        Self { peak_bytes, spots }
    }
}

/// Replays a session: one load, then one run for each element of `runs`.
pub fn simulate<R: Borrow<RunSizes>>(compiled: &Compiled, options: &SimulateOptions, runs: &[R]) -> Outcome {
    let Loaded { mut machine, failure, .. } = Loaded::of(compiled, options);
    let mut outcome = Outcome {
        load: machine.snapshot(),
        load_peaks: machine.peak_events(),
        runs: Vec::new(),
        failure,
        has_bands: false,
        trace: Trace::default(),
    };
    let mut last: Option<Begun<'_>> = None;
    for (run, sizes) in runs.iter().enumerate() {
        if outcome.failure.is_some() {
            break;
        }
        let begun = Begun { sizes: sizes.borrow(), state: machine.state(), mark: machine.mark() };
        if let (Some(last), Some(before)) = (&last, outcome.runs.last())
            && last.goes_like(&begun)
        {
            // Nothing that a run goes by has changed: it is the last one over again.
            let n_events = machine.repeat_since(&last.mark);
            outcome.runs.push(before.again(&begun.mark, &last.mark, n_events));
        } else {
            let ran = run_once(compiled, options, begun.sizes, &mut machine, run, &mut outcome.failure);
            outcome.runs.push(ran);
        }
        last = Some(begun);
    }
    outcome.has_bands = machine.has_bands;
    outcome.trace = machine.into_trace();
    outcome
}

/// The beginning of a run: what it goes by.
struct Begun<'a> {
    sizes: &'a RunSizes,
    state: MachineState,
    mark: Mark,
}

impl Begun<'_> {
    fn goes_like(&self, other: &Self) -> bool {
        std::ptr::eq(self.sizes, other.sizes) && self.state == other.state
    }
}

impl RunOutcome {
    /// The run after this one, which goes like it `n_events` events later. The runs begin at marks.
    fn again(&self, begins: &Mark, began: &Mark, n_events: usize) -> Self {
        let counted = |snapshot: &ArenaSnapshot| ArenaSnapshot {
            host: snapshot.host.repeated(&begins.counted[0], &began.counted[0]),
            device: snapshot.device.map(|device| device.repeated(&begins.counted[1], &began.counted[1])),
        };
        Self {
            fullest: counted(&self.fullest),
            at_end: counted(&self.at_end),
            released: counted(&self.released),
            host_peak: self.host_peak.later(n_events),
            device_peak: self.device_peak.later(n_events),
        }
    }
}

/// Replays the run of this number.
fn run_once(
    compiled: &Compiled,
    options: &SimulateOptions,
    sizes: &RunSizes,
    machine: &mut Machine,
    run: usize,
    failure: &mut Option<Failure>,
) -> RunOutcome {
    machine.begin_run();
    let sizes = complete(compiled, sizes);
    let result = Frame::run_session(compiled, &sizes, machine);
    let fullest = machine.snapshot();
    // The caller does not have the outputs yet: they pin their regions.
    if options.shrink_after_run {
        machine.shrink();
    }
    machine.trace.push(Event::RunEnds);
    let at_end = machine.snapshot();
    let (host_peak, device_peak) = machine.peak_events();
    match result {
        Ok(outputs) => outputs.into_iter().for_each(|output| machine.free(output)),
        Err(refused) => *failure = Some(Failure { run: Some(run), ..refused }),
    }
    RunOutcome { fullest, at_end, released: machine.snapshot(), host_peak, device_peak }
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
fn load<'a>(
    compiled: &'a Compiled,
    options: &SimulateOptions,
    machine: &mut Machine,
    outer: &BTreeMap<String, OuterWeight>,
    state: &mut LoadState<'a>,
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
            state.stores(&compiled.program, stored.value, held);
        }
    }
    if machine.has_device() {
        for taken in persistent(&compiled.program) {
            let owner = compiled.owner_of_scratch(OwnerKind::Prepacked, taken.what, taken.node);
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
            let program = &compiled.program;
            if !state.keeps(program, &node.op_type, packed.weight, packed.identity, packed.buffers) && packed.shared {
                for held in taken {
                    machine.free(held);
                }
            }
            if let Some(original) = state.gives_up(program, packed.weight) {
                machine.free(original);
            }
        }
    }
    if !compiled.bodies.is_empty() {
        let mut visible = outer.clone();
        for weight in compiled.program.weights.iter().filter(|weight| !weight.overridable) {
            let name = compiled.program.value(weight.value).name.to_string();
            let outer = weight.size.clone().map(|size| OuterWeight { size, identity: weight.identity });
            visible.extend(outer.map(|outer| (name, outer)));
        }
        for body in compiled.bodies.values() {
            load(body, options, machine, &visible, state)?;
        }
    }
    Ok(())
}
