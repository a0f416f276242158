//! The answer: what a model needs in a session with these options, run by run.

use std::borrow::Borrow;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model;

use crate::arena::{ArenaConfig, ArenaStats, RegionAddresses};
use crate::compile::{CompileOptions, compile_ordered};
use crate::lower::lower_ordered;
use crate::order::ExecutionOrder;
use crate::overhead::{Band, Bound, CalibrationEntry, cuda_overhead, driver_rounding};
use crate::peak::{Moment, PeakEvents, peak_moment, peak_sums};
use crate::plan::PlanOptions;
use crate::program::{NodeProvider, Place};
use crate::releases::{NEWEST_MEASURED, Release};
use crate::simulate::{ArenaSnapshot, Compiled, Failure, Outcome, RunOutcome, SimulateOptions, simulate};
use crate::sizes::RunSizes;
use crate::trace::{OwnerKind, Trace};

/// The execution provider of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `CPUExecutionProvider` alone.
    Cpu,
    /// `CUDAExecutionProvider`, with the CPU for what it leaves.
    Cuda {
        /// The card's, such as `(7, 5)`; bands are wider without.
        compute_capability: Option<(u32, u32)>,
    },
}

/// The options of a session that change its memory. The default is ONNX Runtime's own.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Who runs the model.
    pub provider: Provider,
    /// The arena of that provider (`gpu_mem_limit`, `arena_extend_strategy` … on CUDA).
    pub arena: ArenaConfig,
    /// `enable_mem_pattern`.
    pub mem_pattern: bool,
    /// `enable_mem_reuse`.
    pub mem_reuse: bool,
    /// `ORT_PARALLEL`.
    pub parallel: bool,
    /// `execution_order`.
    pub execution_order: ExecutionOrder,
    /// `intra_op_num_threads`.
    pub n_threads: u64,
    /// `session.use_device_allocator_for_initializers`.
    pub use_device_allocator_for_initializers: bool,
    /// The opposite of `session.disable_prepacking`.
    pub prepacking: bool,
    /// `memory.enable_memory_arena_shrinkage` with every run.
    pub shrink_after_run: bool,
    /// The release that runs it.
    pub release: Release,
    /// Measured on the user's own card; comes before the table that is built in.
    pub calibration: Vec<CalibrationEntry>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            provider: Provider::Cpu,
            arena: ArenaConfig::default(),
            mem_pattern: true,
            mem_reuse: true,
            parallel: false,
            execution_order: ExecutionOrder::Default,
            n_threads: 1,
            use_device_allocator_for_initializers: false,
            prepacking: true,
            shrink_after_run: false,
            release: NEWEST_MEASURED,
            calibration: Vec::new(),
        }
    }
}

impl SessionOptions {
    fn is_cuda(&self) -> bool {
        matches!(self.provider, Provider::Cuda { .. })
    }

    fn compute_capability(&self) -> Option<(u32, u32)> {
        match self.provider {
            Provider::Cpu => None,
            Provider::Cuda { compute_capability } => compute_capability,
        }
    }

    fn simulate_options(&self) -> SimulateOptions {
        let cuda = self.is_cuda();
        // Linux maps large host blocks from the top down; `cudaMalloc` goes up.
        let host = |config: ArenaConfig| ArenaConfig { region_addresses: RegionAddresses::Descending, ..config };
        let device_arena = cuda.then(|| ArenaConfig {
            region_addresses: RegionAddresses::Ascending,
            // Not passed on to a stream-aware arena (allocator_utils.cc, ORT 1.31).
            max_power_of_two_extend_bytes: ArenaConfig::default().max_power_of_two_extend_bytes,
            ..self.arena.clone()
        });
        SimulateOptions {
            host_arena: host(if cuda { ArenaConfig::default() } else { self.arena.clone() }),
            device_arena,
            mem_pattern: self.mem_pattern && !self.parallel,
            prepacking: self.prepacking,
            use_device_allocator_for_initializers: self.use_device_allocator_for_initializers,
            shrink_after_run: self.shrink_after_run,
            release: self.release,
            n_threads: self.n_threads.max(1),
            compute_capability: self.compute_capability(),
            workspace_bound: Bound::Expected,
        }
    }
}

/// Who held the memory when it was most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeakReport {
    /// The arena's bytes in use; the parts of `moment` sum to this.
    pub in_use_bytes: Bytes,
    /// The node that was running and everything that was alive.
    pub moment: Moment,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPrediction {
    /// Highest `InUse` of this run alone.
    pub peak_in_use_bytes: Bytes,
    /// `TotalAllocated` at its end.
    pub total_allocated_bytes: Bytes,
    /// All counters at its end, before the caller releases the outputs.
    pub stats: ArenaStats,
    /// The counters once the outputs are released.
    pub released: ArenaStats,
    /// Which moments tell who held what at the peak.
    pub(crate) peak_events: PeakEvents,
}

/// The arena's bytes at the highest moment of all runs, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// Weights, repacked ones included.
    pub weights_bytes: Bytes,
    /// Feeds, results, outputs and what a memory pattern holds for them.
    pub activations_bytes: Bytes,
    /// Kernel scratch.
    pub workspace_bytes: Bytes,
    /// Held by the arena and used for nothing at that moment.
    pub arena_slack_bytes: Bytes,
    /// Context, code and handles: no arena's, and not known exactly.
    pub context_bytes: Bytes,
}

/// What a session with a model needs.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The counters of the provider's arena once the session is created.
    pub load: ArenaStats,
    /// One for every run that began.
    pub runs: Vec<RunPrediction>,
    /// The first allocation that failed; nothing follows it.
    pub failure: Option<Failure>,
    /// Everything the process holds on the device (or, on the CPU, the arena), at its highest.
    pub device: Band,
    /// The same by purpose.
    pub breakdown: Breakdown,
    /// Every allocation with its owner.
    pub trace: Trace,
    /// What could not be predicted, and what that does to the numbers.
    pub diagnostics: Vec<Diagnostic>,
    /// The provider's arena.
    place: Place,
}

impl Prediction {
    /// Who held what at a run's peak; nothing for a run that never began.
    pub fn peak(&self, run: usize) -> PeakReport {
        let Some(run) = self.runs.get(run) else { return PeakReport::default() };
        let moment = peak_moment(&self.trace, self.place, run.peak_events);
        PeakReport { in_use_bytes: run.peak_in_use_bytes, moment }
    }

    /// The run with the highest peak, the last of several.
    pub fn highest_run(&self) -> Option<usize> {
        (0..self.runs.len()).max_by_key(|run| self.runs[*run].peak_in_use_bytes)
    }
}

/// Predicts a session: one load, then one run for every element of `runs`.
pub fn predict<R: Borrow<RunSizes>>(model: &Model, runs: &[R], options: &SessionOptions) -> Prediction {
    predict_compiled(&compile_session(model, options), runs, options)
}

/// Plans a session once, for many predictions. Of the options, only those of [`CompileOptions`]
/// are decided by this: provider, execution order, memory reuse and parallel execution.
pub fn compile_session(model: &Model, options: &SessionOptions) -> Compiled {
    let compile_options = CompileOptions {
        order: options.execution_order,
        plan: PlanOptions { mem_reuse: options.mem_reuse, parallel: options.parallel, in_loop: false },
        cuda: options.is_cuda(),
    };
    let (program, order) = lower_ordered(model);
    compile_ordered(program, order, compile_options)
}

/// The same for a program that was compiled before, so that a search plans once.
pub fn predict_compiled<R: Borrow<RunSizes>>(compiled: &Compiled, runs: &[R], options: &SessionOptions) -> Prediction {
    let outcome = simulate(compiled, &options.simulate_options(), runs);
    let place = if options.is_cuda() { Place::Device } else { Place::Host };
    let overhead = match options.provider {
        Provider::Cpu => Band::default(),
        Provider::Cuda { compute_capability } => {
            cuda_overhead(&compiled.program, compute_capability, 1, &options.calibration)
                .plus(driver_rounding(&outcome.trace))
        }
    };
    let (host, device) = outcome.load_peaks;
    let load_peak = if place == Place::Host { host } else { device };
    let arena = held_at_most(&outcome, place);
    let mut prediction = Prediction {
        load: stats_at(&outcome.load, place),
        breakdown: Breakdown::default(),
        device: arena_band(compiled, runs, options, &outcome, arena).plus(overhead),
        diagnostics: diagnostics(compiled, runs),
        runs: outcome.runs.iter().map(|run| run_prediction(run, place)).collect(),
        failure: outcome.failure,
        trace: outcome.trace,
        place,
    };
    prediction.breakdown = breakdown(&prediction, load_peak, arena, overhead);
    prediction
}

fn stats_at(snapshot: &ArenaSnapshot, place: Place) -> ArenaStats {
    match (place, snapshot.device) {
        (Place::Device, Some(device)) => device,
        _ => snapshot.host,
    }
}

fn run_prediction(run: &RunOutcome, place: Place) -> RunPrediction {
    let stats = stats_at(&run.at_end, place);
    RunPrediction {
        peak_in_use_bytes: stats.max_in_use_bytes,
        total_allocated_bytes: stats.total_allocated_bytes,
        stats,
        released: stats_at(&run.released, place),
        peak_events: if place == Place::Device { run.device_peak } else { run.host_peak },
    }
}

/// What the arena holds if libraries take as little scratch as they may, and as much.
///
/// An arena that grows by doubling may end up smaller for a larger need; the band spans all three.
fn arena_band<R: Borrow<RunSizes>>(
    compiled: &Compiled,
    runs: &[R],
    options: &SessionOptions,
    outcome: &Outcome,
    arena: Bytes,
) -> Band {
    if !outcome.has_bands {
        return Band::exact(arena);
    }
    let at = |workspace_bound: Bound| {
        let options = SimulateOptions { workspace_bound, ..options.simulate_options() };
        held_at_most(&simulate(compiled, &options, runs), Place::Device)
    };
    let (low, high) = (at(Bound::Low), at(Bound::High));
    Band { low: low.min(high).min(arena), expected: arena, high: high.max(low).max(arena) }
}

/// The most that the arena ever held.
fn held_at_most(outcome: &Outcome, place: Place) -> Bytes {
    let runs = outcome.runs.iter().map(|run| stats_at(&run.fullest, place).total_allocated_bytes);
    runs.chain([stats_at(&outcome.load, place).total_allocated_bytes]).max().unwrap_or_default()
}

fn breakdown(prediction: &Prediction, load_peak: PeakEvents, arena: Bytes, overhead: Band) -> Breakdown {
    let highest = prediction.highest_run().map(|run| &prediction.runs[run]).filter(|run| {
        // Loading may take more than any run.
        run.peak_in_use_bytes >= prediction.load.in_use_bytes
    });
    let bytes_of = peak_sums(&prediction.trace, prediction.place, highest.map_or(load_peak, |run| run.peak_events));
    use OwnerKind::*;
    let weights_bytes = bytes_of(&[Weight, Prepacked]);
    let activations_bytes = bytes_of(&[Feed, Activation, Output, OutputCopy, PatternBlock, PatternGap]);
    let workspace_bytes = bytes_of(&[Scratch]);
    Breakdown {
        weights_bytes,
        activations_bytes,
        workspace_bytes,
        arena_slack_bytes: arena.saturating_sub(weights_bytes + activations_bytes + workspace_bytes),
        context_bytes: overhead.expected,
    }
}

/// What the numbers leave out, each said once.
fn diagnostics<R: Borrow<RunSizes>>(compiled: &Compiled, runs: &[R]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let program = &compiled.program;
    if let Some(sizes) = runs.first().map(Borrow::borrow) {
        let unknown: Vec<&str> = program
            .nodes
            .iter()
            .flat_map(|node| node.present_outputs())
            .filter(|&value| {
                let known = program.value(value);
                known.is_tensor && known.copy_of.is_none() && sizes.tensor(value).is_none()
            })
            .map(|value| program.value(value).name.as_str())
            .collect();
        if let Some(first) = unknown.first() {
            diagnostics.push(Diagnostic::warning(
                "unknown-size",
                format!("the size of {} values is unknown, first `{first}`: they count as nothing", unknown.len()),
            ));
        }
    }
    let mut unmodelled = std::collections::BTreeMap::<(String, NodeProvider), (usize, &str)>::new();
    let mut programs = vec![compiled];
    while let Some(compiled) = programs.pop() {
        programs.extend(compiled.bodies.values());
        let nodes = compiled.program.nodes.iter().zip(&compiled.kernels);
        for (node, _) in nodes.filter(|(_, kernel)| !kernel.is_modelled) {
            unmodelled.entry((node.operator(), node.provider)).or_insert((0, &node.name)).0 += 1;
        }
    }
    for ((operator, provider), (n_nodes, first)) in unmodelled {
        let place = if provider == NodeProvider::Cuda { " on CUDA" } else { "" };
        diagnostics.push(Diagnostic::warning(
            "unmodelled-op",
            format!(
                "`{operator}`{place} ({n_nodes} nodes, first `{first}`): its inputs and outputs are counted, not its scratch"
            ),
        ));
    }
    let on_cpu = program.nodes.iter().filter(|node| node.provider == NodeProvider::Cpu).count();
    let on_cuda = program.nodes.len() - on_cpu;
    if on_cuda > 0 && on_cpu > 0 {
        diagnostics
            .push(Diagnostic::note("cpu-nodes", format!("{on_cpu} of {} nodes run on the CPU", program.nodes.len())));
    }
    diagnostics
}

#[cfg(test)]
mod tests;
