//! A model in the memory twin: planned once, asked for many sizes and settings.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model as GraphModel;
use onnxfit_memory::arena::{ArenaConfig, ArenaExtendStrategy};
use onnxfit_memory::order::ExecutionOrder;
use onnxfit_memory::simulate::{Compiled, Failure};
use onnxfit_memory::sizes::RunSizes;
use onnxfit_memory::{Prediction, Provider as MemoryProvider, SessionOptions};
use onnxfit_plan::{Band, Fit, Levers};
use onnxfit_shape::{Bindings, Incremental};

use crate::Error;
use crate::kept::Plan;
use crate::request::{Provider, Request};
use crate::sizes::{self, Sized};

/// How many equal runs are predicted: the first traces a memory pattern, the second takes its
/// block, the third shows that nothing grows any more.
pub(crate) const N_RUNS: usize = 3;

/// From so many nodes on a second thread is worth its start.
const NODES_APART_MIN: usize = 256;
/// As much as the main thread has: graphs lie inside graphs.
const STACK_BYTES: usize = 8 << 20;

/// Requests whose tensors are remembered at once.
const SHAPED_MAX: usize = 64;

/// A model as it will run, ready to be asked.
pub(crate) struct Twin<'a> {
    model: Cow<'a, GraphModel>,
    request: &'a Request,
    /// What follows from the graph, made when it is first needed: no setting that is tried changes it.
    plan: HeldPlan<'a>,
    /// The tensors of every request that was asked: settings are tried on the same sizes again and
    /// again.
    shaped: RefCell<BTreeMap<Sizes, Rc<Shaped>>>,
    /// What the inputs will hold, where that is known and may decide sizes.
    contents: Contents,
}

/// The numbers in small inputs, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// Whole numbers and truth values.
    pub(crate) integers: BTreeMap<String, Vec<i64>>,
    /// Floating-point numbers.
    pub(crate) floats: BTreeMap<String, Vec<f64>>,
}

/// The plan of the session.
enum HeldPlan<'a> {
    /// Kept with the model.
    Kept(&'a Plan),
    /// The twin's own.
    Own(Box<Plan>),
}

impl std::ops::Deref for HeldPlan<'_> {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        match self {
            Self::Kept(plan) => plan,
            Self::Own(plan) => plan,
        }
    }
}

/// Sizes of named dimensions, and shapes of inputs.
type Sizes = (BTreeMap<String, i64>, BTreeMap<String, Vec<i64>>);

/// What is known of one request's tensors.
struct Shaped {
    sized: Sized,
    /// The dimensions, those that were assumed included.
    dims: BTreeMap<String, i64>,
    diagnostics: Vec<Diagnostic>,
}

/// Everything known about one request.
pub(crate) struct Answer {
    /// What the twin says.
    pub(crate) judgement: Judgement,
    /// The dimensions it was made for, those that were assumed included.
    pub(crate) dims: BTreeMap<String, i64>,
    /// What shapes and request had to say.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Whether a sequence of runs fits, and what happens if it is tried.
pub(crate) struct Judgement {
    /// On a device of the target's size if it fits there, else on one without bounds.
    pub(crate) prediction: Prediction,
    /// Everything the process holds at its highest.
    pub(crate) band: Band,
    /// What the target refuses.
    pub(crate) failure: Option<Failure>,
    /// Whether it fits.
    pub(crate) fit: Fit,
}

/// What a sequence of runs takes on a device without bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unhindered {
    band: Band,
    /// What the arena holds of what is expected: all but context, code and handles.
    arena: Bytes,
    held: Bytes,
    fails: bool,
    /// Whether the size of some tensor is unknown.
    pub(crate) is_unsure: bool,
}

/// What a sequence of runs takes where it has a budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief {
    /// Everything the process holds at its highest.
    pub(crate) band: Band,
    /// What the arena holds after the runs.
    pub(crate) held: Bytes,
    /// Whether it fits.
    pub(crate) fit: Fit,
}

impl Unhindered {
    fn of(free: &Prediction) -> Self {
        Self {
            band: band_of(free),
            arena: free.device.expected - free.breakdown.context_bytes,
            held: held_after(free),
            fails: free.failure.is_some(),
            is_unsure: free.diagnostics.iter().any(|finding| finding.id == "unknown-size"),
        }
    }

    /// What a budget leaves the arena if all else takes as little as it may, what is expected, and
    /// as much as it may.
    fn rooms(&self, budget: Bytes) -> [Bytes; 3] {
        // An end of the band differs from what is expected by context and scratch alike: what the
        // arena may take is the budget, more or less that difference.
        [self.band.low, self.band.expected, self.band.high].map(|total| (budget + self.arena).saturating_sub(total))
    }
}

fn band_of(prediction: &Prediction) -> Band {
    Band { low: prediction.device.low, expected: prediction.device.expected, high: prediction.device.high }
}

/// What the arena holds once the caller released the outputs of the last run.
fn held_after(prediction: &Prediction) -> Bytes {
    let last = prediction.runs.last().map(|run| run.released.total_allocated_bytes);
    last.unwrap_or(prediction.load.total_allocated_bytes)
}

/// The band of three replays, from the most room to the least: the less there is, the less an arena
/// that backs off may end up holding.
fn sorted_band(roomy: &Prediction, likely: &Prediction, cramped: &Prediction) -> Band {
    let mut totals = [roomy.device.low, likely.device.expected, cramped.device.high];
    totals.sort_unstable();
    Band { low: totals[0], expected: totals[1], high: totals[2] }
}

/// What an arena holds over a few equal runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// After loading: no limit below this means anything.
    pub(crate) loaded: Bytes,
    /// At the highest, unhindered. Under a limit it may be less: a memory pattern that finds no
    /// block is done without.
    pub(crate) total: Bytes,
}

impl<'a> Twin<'a> {
    /// A model whose graph is the one that the session runs.
    pub(crate) fn new(model: &'a GraphModel, request: &'a Request) -> Self {
        Self::of(Cow::Borrowed(model), None, request)
    }

    /// The same for a graph that may be the twin's own, or whose plan is kept.
    pub(crate) fn of(model: Cow<'a, GraphModel>, plan: Option<&'a Plan>, request: &'a Request) -> Self {
        let plan = plan.map_or_else(|| HeldPlan::Own(Box::default()), HeldPlan::Kept);
        Self { model, request, plan, shaped: RefCell::default(), contents: Contents::default() }
    }

    /// The same, told what the inputs will hold.
    pub(crate) fn fed(self, contents: Contents) -> Self {
        Self { contents, shaped: RefCell::default(), ..self }
    }

    /// Judges the request itself.
    pub(crate) fn ask(&self) -> Answer {
        self.ask_at(&self.request.dims, &self.request.shapes)
    }

    /// Judges the request at other sizes.
    pub(crate) fn ask_at(&self, dims: &BTreeMap<String, i64>, shapes: &BTreeMap<String, Vec<i64>>) -> Answer {
        let shaped = self.shaped_as(dims, shapes);
        let (sized, mut diagnostics) = (&shaped.sized, shaped.diagnostics.clone());
        let unknown = self.unknown_dims(dims);
        if !unknown.is_empty() {
            let names: Vec<String> = sizes::named_dims(&self.model.graph).into_iter().collect();
            let message = format!("no input of the model has a dimension `{}`", unknown.join("` or `"));
            let hint = format!("its dimensions are {}", names.join(", "));
            // A name that leads nowhere while others are missing is a slip; the answer would be to
            // another question.
            let some_are_open = diagnostics.iter().any(|finding| finding.id == "open-dims");
            let finding = if some_are_open { Diagnostic::error } else { Diagnostic::note };
            diagnostics.push(finding("unknown-dim", message).with_hint(hint));
        }
        if sized.n_bounded > 0 {
            let message =
                format!("{} tensors have a size that depends on the data: counted at their most", sized.n_bounded);
            diagnostics.push(Diagnostic::note("bounded-size", message));
        }
        let judgement = self.judge(&[&sized.sizes; N_RUNS], self.request_levers(), self.request.budget());
        diagnostics.extend(judgement.prediction.diagnostics.iter().cloned());
        Answer { judgement, dims: shaped.dims.clone(), diagnostics }
    }

    /// Refuses what cannot be asked: inputs that are not there, and sizes that no machine holds.
    pub(crate) fn refuse(
        &self,
        dims: &BTreeMap<String, i64>,
        shapes: &BTreeMap<String, Vec<i64>>,
    ) -> Result<(), Error> {
        let graph = &self.model.graph;
        let shaped = self.shaped_as(dims, shapes);
        for name in shapes.keys() {
            let is_input = graph.value_named(name).is_some_and(|id| graph.value(id).is_input);
            if !is_input {
                let inputs = graph.required_inputs().map(|id| graph.value(id).name.as_str());
                let hint = format!("its inputs are {}", inputs.collect::<Vec<_>>().join(", "));
                return Err(Error::Binding(format!("the model has no input `{name}`"), Some(hint)));
            }
        }
        match sizes::impossible(graph, &shaped.sized.sizes) {
            Some(what) => Err(Error::Binding(format!("no machine holds these sizes: {what}"), None)),
            None => Ok(()),
        }
    }

    /// Names that were given a size and are no dimension of the model.
    fn unknown_dims<'d>(&self, dims: &'d BTreeMap<String, i64>) -> Vec<&'d str> {
        if dims.is_empty() {
            return Vec::new();
        }
        let known = sizes::named_dims(&self.model.graph);
        dims.keys().map(String::as_str).filter(|name| !known.contains(*name)).collect()
    }

    /// The levers as the request sets them.
    pub(crate) fn request_levers(&self) -> Levers {
        self.request.levers()
    }

    /// Judges a sequence of runs of different sizes with these settings.
    pub(crate) fn ask_sequence(
        &self,
        runs: &[BTreeMap<String, i64>],
        levers: Levers,
        budget: Option<Bytes>,
    ) -> Judgement {
        let shaped: Vec<Rc<Shaped>> = runs.iter().map(|dims| self.shaped(dims)).collect();
        let sequence: Vec<&RunSizes> = shaped.iter().map(|shaped| &shaped.sized.sizes).collect();
        self.judge(&sequence, levers, budget)
    }

    /// Judges runs whose nodes go in the order of `PRIORITY_BASED`, with the request's settings.
    pub(crate) fn ask_by_priority(&self, runs: &[BTreeMap<String, i64>], budget: Option<Bytes>) -> Judgement {
        let shaped: Vec<Rc<Shaped>> = runs.iter().map(|dims| self.shaped(dims)).collect();
        let sequence: Vec<&RunSizes> = shaped.iter().map(|shaped| &shaped.sized.sizes).collect();
        let order = ExecutionOrder::PriorityBased;
        let options = SessionOptions { execution_order: order, ..self.options(self.request_levers()) };
        let compiled = onnxfit_memory::compile_session(&self.model, &options);
        judge_with(budget, |capacity| {
            let mut options = options.clone();
            options.arena.device_capacity = capacity;
            onnxfit_memory::predict_compiled(&compiled, &sequence, &options)
        })
    }

    /// Replays a run of these sizes, and more like it, in an arena with a limit of its own: what it
    /// holds at its highest, or nothing if it fails.
    pub(crate) fn held_under(&self, dims: &BTreeMap<String, i64>, limit: Option<Bytes>) -> Option<Held> {
        let mut options = self.options(self.request_levers());
        options.arena.limit = limit;
        let shaped = self.shaped(dims);
        let runs = [&shaped.sized.sizes; N_RUNS];
        let prediction = onnxfit_memory::predict_compiled(self.compiled(&options), &runs, &options);
        if prediction.failure.is_some() {
            return None;
        }
        let total = prediction.runs.iter().map(|run| run.total_allocated_bytes).max().unwrap_or_default();
        let loaded = prediction.load.total_allocated_bytes;
        Some(Held { loaded, total: total.max(loaded) })
    }

    fn judge(&self, runs: &[&RunSizes], levers: Levers, budget: Option<Bytes>) -> Judgement {
        judge_with(budget, |capacity| self.predict(runs, levers, capacity))
    }

    /// What a sequence of runs takes on a device without bounds, in short: a search asks for it at
    /// many budgets.
    pub(crate) fn unhindered(&self, runs: &[BTreeMap<String, i64>], levers: Levers) -> Unhindered {
        let shaped: Vec<Rc<Shaped>> = runs.iter().map(|dims| self.shaped(dims)).collect();
        let sequence: Vec<&RunSizes> = shaped.iter().map(|shaped| &shaped.sized.sizes).collect();
        Unhindered::of(&self.predict(&sequence, levers, None))
    }

    /// What [`Self::ask_sequence`] says of a budget, in short and without the failure: no replay
    /// that only tells more of a failure is made.
    pub(crate) fn brief(
        &self,
        runs: &[BTreeMap<String, i64>],
        levers: Levers,
        budget: Bytes,
        free: &Unhindered,
    ) -> Brief {
        let brief = |fit| Brief { band: free.band, held: free.held, fit };
        if free.fails || free.band.high <= budget {
            return brief(if free.fails { Fit::DoesNotFit } else { Fit::Fits });
        }
        let shaped: Vec<Rc<Shaped>> = runs.iter().map(|dims| self.shaped(dims)).collect();
        let sequence: Vec<&RunSizes> = shaped.iter().map(|shaped| &shaped.sized.sizes).collect();
        let [roomy, likely, cramped] = free.rooms(budget);
        let cramped = self.predict(&sequence, levers, Some(cramped));
        let roomy = self.predict(&sequence, levers, Some(roomy));
        if cramped.failure.is_some() {
            return brief(if roomy.failure.is_some() { Fit::DoesNotFit } else { Fit::Tight });
        }
        let likely = self.predict(&sequence, levers, Some(likely));
        Brief { band: sorted_band(&roomy, &likely, &cramped), held: held_after(&likely), fit: Fit::Fits }
    }

    fn predict(&self, runs: &[&RunSizes], levers: Levers, capacity: Option<Bytes>) -> Prediction {
        let mut options = self.options(levers);
        options.arena.device_capacity = capacity;
        onnxfit_memory::predict_compiled(self.compiled(&options), runs, &options)
    }

    fn compiled(&self, options: &SessionOptions) -> &Compiled {
        self.plan.compiled.get_or_init(|| onnxfit_memory::compile_session(&self.model, options))
    }

    /// The graph that runs.
    pub(crate) fn graph(&self) -> &onnxfit_graph::Graph {
        &self.model.graph
    }

    /// The tensors of one run.
    pub(crate) fn sizes(&self, dims: &BTreeMap<String, i64>) -> RunSizes {
        self.shaped(dims).sized.sizes.clone()
    }

    /// Shapes for these dimensions; names that nobody bound are taken as 1, and said.
    fn shaped(&self, dims: &BTreeMap<String, i64>) -> Rc<Shaped> {
        self.shaped_as(dims, &self.request.shapes)
    }

    fn shaped_as(&self, dims: &BTreeMap<String, i64>, shapes: &BTreeMap<String, Vec<i64>>) -> Rc<Shaped> {
        let sizes = (dims.clone(), shapes.clone());
        if let Some(shaped) = self.shaped.borrow().get(&sizes) {
            return Rc::clone(shaped);
        }
        let shaped = Rc::new(self.shape_apart(dims, shapes));
        let mut known = self.shaped.borrow_mut();
        if known.len() >= SHAPED_MAX {
            known.clear();
        }
        known.insert(sizes, Rc::clone(&shaped));
        shaped
    }

    /// Shapes for the first question, found while the session is planned: neither waits for the other.
    fn shape_apart(&self, dims: &BTreeMap<String, i64>, shapes: &BTreeMap<String, Vec<i64>>) -> Shaped {
        let (model, inferred, contents) = (self.model.as_ref(), &self.plan.shapes, &self.contents);
        if self.plan.compiled.get().is_some() || model.graph.n_nodes() < NODES_APART_MIN {
            return Self::shape(model, inferred, dims, shapes, contents);
        }
        std::thread::scope(|scope| {
            let apart = std::thread::Builder::new().stack_size(STACK_BYTES);
            let shaping = apart.spawn_scoped(scope, || Self::shape(model, inferred, dims, shapes, contents));
            self.compiled(&self.options(self.request_levers()));
            match shaping {
                Ok(shaping) => shaping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // No thread is to be had.
                Err(_) => Self::shape(model, inferred, dims, shapes, contents),
            }
        })
    }

    fn shape(
        model: &GraphModel,
        inferred: &Mutex<Incremental>,
        dims: &BTreeMap<String, i64>,
        shapes: &BTreeMap<String, Vec<i64>>,
        contents: &Contents,
    ) -> Shaped {
        // What a panic left half done is done again from the beginning.
        let mut inferred = inferred.lock().unwrap_or_else(|poisoned| {
            let mut inferred = poisoned.into_inner();
            *inferred = Incremental::default();
            inferred
        });
        let mut values = sizes::known_values(&model.graph, dims);
        values.extend(contents.integers.clone());
        let floats = contents.floats.clone();
        let mut bindings = Bindings { dims: dims.clone(), inputs: shapes.clone(), values, floats };
        let mut inference = inferred.infer(model, &bindings);
        let open = sizes::open_dims(&model.graph, &inference.graph);
        let mut diagnostics = Vec::new();
        if !open.is_empty() {
            let names: Vec<String> = open.iter().map(|name| format!("{name}=1")).collect();
            let hint = format!("give them as `--dim {}=N`, or whole shapes as `--shape INPUT:…`", open[0]);
            diagnostics.push(Diagnostic::warning("open-dims", format!("assumed {}", names.join(" "))).with_hint(hint));
            bindings.dims.extend(open.into_iter().map(|name| (name, 1)));
            inference = inferred.infer(model, &bindings);
        }
        diagnostics.extend(inference.diagnostics.iter().cloned());
        Shaped { sized: sizes::run_sizes(&model.graph, inference), dims: bindings.dims, diagnostics }
    }

    fn options(&self, levers: Levers) -> SessionOptions {
        let capability = self.request.target.as_ref().and_then(|target| target.gpu).map(|gpu| gpu.compute_capability);
        let extend_strategy = if levers.same_as_requested {
            ArenaExtendStrategy::SameAsRequested
        } else {
            ArenaExtendStrategy::NextPowerOfTwo
        };
        let arena = ArenaConfig::default();
        SessionOptions {
            provider: match self.request.provider {
                Provider::Cpu => MemoryProvider::Cpu,
                Provider::Cuda => MemoryProvider::Cuda {
                    compute_capability: capability.map(|capability| (capability.major.into(), capability.minor.into())),
                },
            },
            arena: ArenaConfig {
                limit: self.request.limit(),
                extend_strategy,
                initial_chunk_bytes: levers.initial_chunk.unwrap_or(arena.initial_chunk_bytes),
                max_dead_bytes_per_chunk: levers.dead_per_chunk_max.unwrap_or(arena.max_dead_bytes_per_chunk),
                ..arena
            },
            shrink_after_run: levers.shrink_after_run,
            calibration: self.request.calibration.clone(),
            mem_pattern: levers.mem_pattern,
            n_threads: u64::from(self.request.n_threads),
            release: onnxfit_memory::releases::parse(&self.request.ort_version),
            use_device_allocator_for_initializers: levers.device_allocator_for_initializers,
            ..SessionOptions::default()
        }
    }
}

/// Replays runs on a device without bounds, and if that does not fit, on one of the target's size:
/// an arena that may not grow as it likes takes less, and a memory pattern that finds no block is
/// done without, so only the replay tells whether anything fails.
fn judge_with(budget: Option<Bytes>, predict: impl Fn(Option<Bytes>) -> Prediction) -> Judgement {
    let free = predict(None);
    let fits_as_it_is = budget.is_none_or(|budget| free.device.high <= budget);
    if free.failure.is_some() || fits_as_it_is {
        let fit = if free.failure.is_some() { Fit::DoesNotFit } else { Fit::Fits };
        return Judgement { band: band_of(&free), failure: free.failure.clone(), prediction: free, fit };
    }
    let budget = budget.expect("without a budget everything fits");
    let [roomy, likely, cramped] = Unhindered::of(&free).rooms(budget).map(|room| predict(Some(room)));
    if cramped.failure.is_none() {
        let band = sorted_band(&roomy, &likely, &cramped);
        return Judgement { band, failure: None, prediction: likely, fit: Fit::Fits };
    }
    let fit = if roomy.failure.is_some() { Fit::DoesNotFit } else { Fit::Tight };
    Judgement { band: band_of(&free), failure: likely.failure.or(cramped.failure), prediction: free, fit }
}
