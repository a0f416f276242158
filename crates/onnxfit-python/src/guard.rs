//! The guard's decisions for a session that Python runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onnxfit::runtime::guard::{
    BytesNeeded, Counted, Cut, Job, LearnedLimits, Piece, Planner, PlannerOptions, Situation,
};
use onnxfit::runtime::live::LiveFile;
use onnxfit::runtime::{HeapRelief, OutOfMemory};
use onnxfit::{Bytes, GuardSetup, Model, OptimizationLevel, Provider, Request, guard_plan};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What a model's requests take, and how they may be cut.
#[pyclass(name = "Guard", module = "onnxfit._native", frozen)]
pub(crate) struct PyGuard {
    state: Arc<Mutex<State>>,
    names: Vec<String>,
    cut: Option<Cut>,
    refusal: Option<String>,
}

struct State {
    planner: Planner,
    needs: Box<dyn BytesNeeded>,
    learned: Option<LearnedLimits>,
    warning: Option<String>,
    live: Option<LiveFile>,
    heap: HeapRelief,
}

impl State {
    /// Says to `onnxfit watch` how it goes. What the arena holds cannot be asked from here.
    fn tell(&mut self, sizes: &[u64], rows: u64) {
        if let Some(live) = self.live.as_mut().filter(|live| live.is_due()) {
            live.tell_runs(self.needs.bytes_bound(sizes, rows), self.planner.counts().runs);
        }
    }
}

/// A request under way.
#[pyclass(name = "Job", module = "onnxfit._native")]
pub(crate) struct PyJob {
    state: Arc<Mutex<State>>,
    job: Job,
    sizes: Vec<u64>,
    piece: Option<Piece>,
}

/// What a failure means: `again`, `other`, or `too large` with sentence, node, operator, requested
/// and available bytes.
type Verdict = (&'static str, Option<String>, Option<String>, Option<String>, Option<u64>, Option<u64>);

#[pymethods]
impl PyGuard {
    #[new]
    #[pyo3(signature = (model, *, cuda = false, level = "all", mem_pattern = true, threads = 2, limit = None,
        on = None, batch_dim = None, learned = None, device = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        py: Python<'_>,
        model: PathBuf,
        cuda: bool,
        level: &str,
        mem_pattern: bool,
        threads: u32,
        limit: Option<u64>,
        on: Option<String>,
        batch_dim: Option<String>,
        learned: Option<PathBuf>,
        device: Option<u32>,
    ) -> PyResult<Self> {
        let level = match level {
            "disable" => OptimizationLevel::Disable,
            "basic" => OptimizationLevel::Basic,
            "extended" => OptimizationLevel::Extended,
            _ => OptimizationLevel::All,
        };
        py.detach(|| {
            let fail = |error: onnxfit::Error| PyValueError::new_err(error.to_string());
            let mut request = Request::new(if cuda { Provider::Cuda } else { Provider::Cpu });
            request.optimization = level;
            request.mem_pattern = mem_pattern;
            request.n_threads = threads.max(1);
            request.arena_limit = limit.map(Bytes);
            if let Some(on) = on {
                request = request.on(&on).map_err(fail)?;
            }
            let setup = GuardSetup { batch_dim, learned, offline: true, ..GuardSetup::default() };
            let path = model;
            let model = Model::open(&path).map_err(fail)?;
            let plan = guard_plan(&model, &request, &setup).map_err(fail)?;
            let names = model.graph().graph.required_inputs().map(|id| model.graph().graph.value(id).name.clone());
            let mut planner = Planner::new(PlannerOptions { limit: plan.options.limit });
            let mut warning = None;
            if let Some(learned) = &plan.options.learned {
                warning = learned.recall(&mut planner).err().map(|error| error.to_string());
            }
            let live = LiveFile::announce(&path, device, planner.limit().map(Bytes::get));
            let state = State {
                planner,
                needs: plan.options.needs,
                learned: plan.options.learned,
                warning,
                live,
                heap: HeapRelief::default(),
            };
            Ok(Self {
                state: Arc::new(Mutex::new(state)),
                names: names.collect(),
                cut: plan.options.cut,
                refusal: plan.diagnostics.first().map(|finding| finding.message.clone()),
            })
        })
    }

    /// The names of the inputs, in the order in which shapes are given.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The axis of the rows, for each input that has them; `None` if requests may not be cut.
    #[getter]
    fn input_axes(&self) -> Option<BTreeMap<String, usize>> {
        self.cut.as_ref().map(|cut| cut.inputs.clone())
    }

    /// The axis of the rows, for each output that has them; `None` if requests may not be cut.
    #[getter]
    fn output_axes(&self) -> Option<BTreeMap<String, usize>> {
        self.cut.as_ref().map(|cut| cut.outputs.clone())
    }

    /// Why requests may not be cut.
    #[getter]
    fn refusal(&self) -> Option<String> {
        self.refusal.clone()
    }

    /// The most that a run may take, as far as it was given.
    #[getter]
    fn limit_bytes(&self) -> Option<u64> {
        lock(&self.state).planner.limit().map(Bytes::get)
    }

    /// Plans a request of these shapes.
    fn begin(&self, py: Python<'_>, shapes: Vec<Vec<u64>>) -> PyJob {
        let (counted, job) = py.detach(|| {
            let counted = self.count(&shapes);
            let mut state = lock(&self.state);
            let State { planner, needs, .. } = &mut *state;
            let job =
                planner.begin(counted.rows, counted.cuttable, &mut Asked { needs: &**needs, sizes: &counted.sizes });
            (counted, job)
        });
        PyJob { state: Arc::clone(&self.state), job, sizes: counted.sizes, piece: None }
    }

    /// The bytes that a request of these shapes is predicted to take as a whole.
    fn bytes_needed(&self, py: Python<'_>, shapes: Vec<Vec<u64>>) -> Option<u64> {
        py.detach(|| {
            let counted = self.count(&shapes);
            lock(&self.state).needs.bytes_needed(&counted.sizes, counted.rows).map(Bytes::get)
        })
    }

    /// What has happened so far, by name.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = lock(&self.state).planner.counts();
        BTreeMap::from([
            ("requests", counts.requests),
            ("cut_requests", counts.cut_requests),
            ("runs", counts.runs),
            ("out_of_memory", counts.out_of_memory),
            ("rows_in_vain", counts.rows_in_vain),
            ("shrinks", counts.shrinks),
            ("probes", counts.probes),
            ("rows", counts.rows),
        ])
    }

    /// Writes what was learned; says why it could not, once.
    fn keep(&self) -> Option<String> {
        let mut state = lock(&self.state);
        let kept = state.learned.as_ref().and_then(|learned| learned.keep(&state.planner).err());
        kept.map(|error| error.to_string()).or_else(|| state.warning.take())
    }
}

impl PyGuard {
    fn count(&self, shapes: &[Vec<u64>]) -> Counted {
        let mut counted = Counted::default();
        let shape = |name: &str| {
            let at = self.names.iter().position(|known| known == name)?;
            shapes.get(at).map(Vec::as_slice)
        };
        counted.count(self.cut.as_ref(), self.names.iter().map(String::as_str), shape);
        counted
    }
}

#[pymethods]
impl PyJob {
    /// Whether the whole request runs at once.
    #[getter]
    fn is_whole(&self) -> bool {
        self.job.is_whole()
    }

    /// The rows of the request.
    #[getter]
    fn rows(&self) -> u64 {
        self.job.rows()
    }

    /// The rows to run now, and whether the arena is to be shrunk before; `None` when all have run.
    fn next(&mut self) -> Option<(u64, u64, bool)> {
        self.piece = lock(&self.state).planner.next(&mut self.job);
        self.piece.as_ref().map(|piece| (piece.rows.start, piece.rows.end, piece.shrink))
    }

    /// The rows ran.
    fn ran(&mut self, py: Python<'_>) {
        let Some(piece) = self.piece.take() else { return };
        py.detach(|| {
            let mut state = lock(&self.state);
            let State { planner, needs, .. } = &mut *state;
            planner.succeeded(&mut self.job, &piece, &mut Asked { needs: &**needs, sizes: &self.sizes });
            state.tell(&self.sizes, piece.rows.end - piece.rows.start);
            state.heap.look();
        });
    }

    /// The rows did not run, and this was said.
    fn failed(&mut self, py: Python<'_>, message: &str) -> Verdict {
        let Some(failure) = OutOfMemory::parse(message) else { return ("other", None, None, None, None, None) };
        let Some(piece) = self.piece.take() else { return ("other", None, None, None, None, None) };
        py.detach(|| {
            let mut state = lock(&self.state);
            let State { planner, needs, .. } = &mut *state;
            let mut asked = Asked { needs: &**needs, sizes: &self.sizes };
            match planner.failed(&mut self.job, &piece, &failure, &mut asked) {
                Ok(()) => ("again", None, None, None, None, None),
                Err(error) => {
                    let failure = &error.failure;
                    let bytes = |bytes: Option<Bytes>| bytes.map(Bytes::get);
                    (
                        "too large",
                        Some(error.to_string()),
                        failure.node.clone(),
                        failure.op_type.clone(),
                        bytes(failure.requested),
                        bytes(failure.available),
                    )
                }
            }
        })
    }
}

/// What the planner may ask; the room cannot be read from Python.
struct Asked<'a> {
    needs: &'a dyn BytesNeeded,
    sizes: &'a [u64],
}

impl Situation for Asked<'_> {
    fn need(&mut self, rows: u64) -> Option<Bytes> {
        self.needs.bytes_needed(self.sizes, rows)
    }

    fn need_at_most(&mut self, rows: u64) -> Option<Bytes> {
        self.needs.bytes_bound(self.sizes, rows)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
