//! A model that is loaded: its worker process, its queue, and the thread between them.
//!
//! The thread takes what the queue offers, as many rows at once as the twin says fit, and answers.
//! When the worker dies it is started again; the requests that it died with run again one by one,
//! and only one that takes two workers with it is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onnxfit::Bytes;
use onnxfit::runtime::guard::{BytesNeeded, Counted, Cut};
use onnxfit::runtime::{TensorInfo, Tensors};

use super::batch::{apart, together};
use super::queue::{BatchRule, Queue, Waiting};
use crate::metrics::ModelMetrics;
use crate::refusal::{Refusal, RefusalKind};
use crate::setup::{ModelSetup, SessionSetup};
use crate::worker::{Worker, WorkerError, WorkerProgram};

/// How long a model may take to load.
const LOAD_PATIENCE: Duration = Duration::from_secs(600);
/// Times that a worker is started again before the model is given up.
const STARTS_MAX: u32 = 4;

/// What is known about a model before it is loaded.
pub(crate) struct Plan {
    pub(crate) cut: Option<Cut>,
    pub(crate) needs: Box<dyn BytesNeeded>,
    /// What a run may take.
    pub(crate) limit: Option<Bytes>,
}

/// How batches are made and runs are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRules {
    pub(crate) batch_delay: Duration,
    pub(crate) batch_rows_max: u64,
    pub(crate) run_timeout: Duration,
}

/// A model that is loaded.
pub(crate) struct Running {
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    pub(crate) cut: Option<Cut>,
    pub(crate) queue: Queue,
    /// Of the memory that all models share.
    pub(crate) reserved: Option<Bytes>,
    /// When it was last asked, in milliseconds of the server's life.
    pub(crate) asked_at_ms: AtomicU64,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Everything that starting a model needs.
pub(crate) struct Start {
    pub(crate) model: ModelSetup,
    pub(crate) session: SessionSetup,
    pub(crate) program: WorkerProgram,
    pub(crate) plan: Plan,
    pub(crate) reserved: Option<Bytes>,
    pub(crate) rules: RunRules,
    pub(crate) queue: Queue,
    pub(crate) metrics: Arc<ModelMetrics>,
}

impl Running {
    /// Loads a model. Blocks until it is loaded.
    pub(crate) fn start(start: Start) -> Result<Arc<Self>, Refusal> {
        let Start { model, session, program, plan, reserved, rules, queue, metrics } = start;
        let limit_bytes = reserved.map(Bytes::get);
        let keeper = Keeper { model, session, program, limit_bytes, rules, metrics };
        let (worker, opened) = keeper.bring_up()?;
        let Plan { cut, needs, limit } = plan;
        let running = Arc::new(Self {
            inputs: opened.inputs,
            outputs: opened.outputs,
            cut,
            queue,
            reserved,
            asked_at_ms: AtomicU64::new(0),
            thread: Mutex::new(None),
        });
        let of_thread = Arc::clone(&running);
        let name = format!("model {}", keeper.model.name);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || keeper.serve(&of_thread, worker, needs.as_ref(), limit))
            .map_err(|error| Refusal::new(RefusalKind::Internal, format!("cannot start a thread: {error}")))?;
        *running.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(running)
    }

    /// Counts a request; refuses what the model does not take.
    pub(crate) fn count(&self, inputs: &Tensors) -> Result<Counted, Refusal> {
        for (name, _) in inputs.iter() {
            if !self.inputs.iter().any(|info| info.name == name) {
                let known: Vec<&str> = self.inputs.iter().map(|info| info.name.as_str()).collect();
                return Err(Refusal::bad(format!("there is no input `{name}`; there are {known:?}")));
            }
        }
        for info in &self.inputs {
            let name = &info.name;
            let Some(tensor) = inputs.get(name) else {
                return Err(Refusal::bad(format!("input `{name}` is missing")));
            };
            if let Some(want) = info.element_type
                && want != tensor.element_type()
            {
                let have = tensor.element_type();
                return Err(Refusal::bad(format!("input `{name}` is {have}, but the model takes {want}")));
            }
            let fits = info.shape.len() == tensor.shape().len()
                && info.shape.iter().zip(tensor.shape()).all(|(want, have)| want.is_none_or(|want| want == *have));
            if !fits {
                let want: Vec<String> =
                    info.shape.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string())).collect();
                let (have, want) = (tensor.shape(), want.join(", "));
                return Err(Refusal::bad(format!("input `{name}` has shape {have:?}, but the model takes [{want}]")));
            }
        }
        let mut counted = Counted::default();
        let names = self.inputs.iter().map(|info| info.name.as_str());
        counted.count(self.cut.as_ref(), names, |name| inputs.get(name).map(onnxfit::runtime::Tensor::shape));
        Ok(counted)
    }

    /// Answers what waits, takes nothing in, and ends the worker. Blocks until that is done.
    pub(crate) fn stop(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that has panicked has said so itself.
            let _ = thread.join();
        }
    }

    /// Whether its thread still answers.
    pub(crate) fn is_alive(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// The thread's side.
struct Keeper {
    model: ModelSetup,
    session: SessionSetup,
    program: WorkerProgram,
    limit_bytes: Option<u64>,
    rules: RunRules,
    metrics: Arc<ModelMetrics>,
}

impl Keeper {
    fn bring_up(&self) -> Result<(Worker, crate::worker::Opened), Refusal> {
        let mut last = String::new();
        for start in 0..STARTS_MAX {
            if start > 0 {
                std::thread::sleep(Duration::from_millis(100 << start));
            }
            let opened = Worker::spawn(&self.program).and_then(|mut worker| {
                let opened = worker.open(&self.model, &self.session, self.limit_bytes, LOAD_PATIENCE)?;
                Ok((worker, opened))
            });
            match opened {
                Ok((worker, opened)) => {
                    self.metrics.worker(worker.id(), opened.memory);
                    return Ok((worker, opened));
                }
                Err(WorkerError::Refused(refusal)) => return Err(refusal),
                Err(WorkerError::Died(reason)) => last = reason,
            }
        }
        let name = &self.model.name;
        Err(Refusal::new(RefusalKind::Unavailable, format!("`{name}` could not be loaded {STARTS_MAX} times: {last}")))
    }

    fn serve(&self, running: &Running, mut worker: Worker, needs: &dyn BytesNeeded, limit: Option<Bytes>) {
        let no_rows = std::collections::BTreeMap::new();
        let fits = |sizes: &[u64], rows: u64| {
            let bytes = || needs.bytes_bound(sizes, rows);
            rows <= self.rules.batch_rows_max && limit.is_none_or(|limit| bytes().is_some_and(|bytes| bytes <= limit))
        };
        let rule = BatchRule {
            cut_inputs: running.cut.as_ref().map_or(&no_rows, |cut| &cut.inputs),
            delay: self.rules.batch_delay,
            fits: &fits,
        };
        while let Some(batch) = running.queue.take(&rule) {
            let rows = batch.iter().map(|request| request.counted.rows).sum();
            self.metrics.predicted(needs.bytes_bound(&batch[0].counted.sizes, rows));
            let Err(batch) = self.run(running, &mut worker, batch) else { continue };
            // The worker is gone, and these went with it.
            self.metrics.worker_died();
            let (retried, given_up): (Vec<_>, Vec<_>) = batch.into_iter().partition(|request| request.n_deaths < 2);
            running.queue.answered(given_up.len(), 0.0);
            for request in given_up {
                let refusal =
                    Refusal::new(RefusalKind::Internal, "two worker processes died while they ran this request");
                let _ = request.reply.send(Err(refusal));
            }
            running.queue.put_back(retried);
            match self.bring_up() {
                Ok((next, _)) => worker = next,
                Err(refusal) => {
                    running.queue.refuse_all(&refusal);
                    return;
                }
            }
        }
    }

    /// Runs a batch and answers it; gives the requests back if the worker died.
    fn run(&self, running: &Running, worker: &mut Worker, mut batch: Vec<Waiting>) -> Result<(), Vec<Waiting>> {
        let start = Instant::now();
        let n = batch.len();
        let rows: Vec<u64> = batch.iter().map(|request| request.counted.rows).collect();
        let no_cut = Cut::default();
        let cut = running.cut.as_ref().unwrap_or(&no_cut);
        let joined = match n {
            1 => None,
            _ => match together(cut, &batch.iter().map(|request| &request.inputs).collect::<Vec<_>>()) {
                Some(joined) => Some(joined),
                None => return self.run_each(running, worker, batch),
            },
        };
        let answer = worker.run(joined.as_ref().unwrap_or(&batch[0].inputs), self.rules.run_timeout);
        let answers = match answer {
            Ok((outputs, counts, memory)) => {
                self.metrics.ran(n, rows.iter().sum(), counts, memory, start.elapsed());
                apart(cut, outputs, &rows).map(|answers| answers.into_iter().map(Ok).collect::<Vec<_>>())
            }
            Err(WorkerError::Refused(refusal)) if n == 1 => Some(vec![Err(refusal)]),
            Err(WorkerError::Refused(_)) => None,
            Err(WorkerError::Died(reason)) => {
                eprintln!("model `{}`: {reason}; it is started again", self.model.name);
                batch.iter_mut().for_each(|request| request.n_deaths += 1);
                return Err(batch);
            }
        };
        match answers {
            Some(answers) => {
                running.queue.answered(n, start.elapsed().as_secs_f64());
                for (request, answer) in batch.into_iter().zip(answers) {
                    self.metrics.answered(&answer, request.since.elapsed());
                    // A caller that has left needs no answer.
                    let _ = request.reply.send(answer);
                }
                Ok(())
            }
            None => self.run_each(running, worker, batch),
        }
    }

    /// Not as one, so each by itself: one caller's mistake is not another's.
    fn run_each(&self, running: &Running, worker: &mut Worker, batch: Vec<Waiting>) -> Result<(), Vec<Waiting>> {
        let mut rest = batch.into_iter();
        while let Some(request) = rest.next() {
            if let Err(mut back) = self.run(running, worker, vec![request]) {
                back.extend(rest);
                return Err(back);
            }
        }
        Ok(())
    }
}

/// Marks when a model was asked.
pub(crate) fn touch(running: &Running, life: Instant) {
    let now = u64::try_from(life.elapsed().as_millis()).unwrap_or(u64::MAX);
    running.asked_at_ms.store(now, Ordering::Relaxed);
}
