//! The models that are served, and the memory that they share.
//!
//! Every loaded model has a worker process with an arena limit of its own; together the limits keep
//! to the budget. A model that is asked for and does not fit beside the others makes those leave
//! that were asked longest ago and have nothing to do.

mod batch;
pub(crate) mod queue;
mod running;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use onnxfit::runtime::Tensors;
use onnxfit::{Bytes, GuardSetup, Model};
use tokio::sync::oneshot;

use crate::metrics::{ModelMetrics, Shown};
use crate::protocol::Question;
use crate::refusal::{Refusal, RefusalKind};
use crate::setup::{ModelSetup, SessionSetup};
use crate::worker::WorkerProgram;
use queue::{Queue, QueueLimits, Waiting};
use running::{Plan, Start, touch};
pub(crate) use running::{RunRules, Running};

/// How models are hosted.
pub(crate) struct Hosting {
    pub(crate) session: SessionSetup,
    pub(crate) program: WorkerProgram,
    pub(crate) rules: RunRules,
    pub(crate) queue: QueueLimits,
    pub(crate) request_timeout: Option<Duration>,
}

/// The models that are served.
pub(crate) struct Hosted {
    hosting: Hosting,
    life: Instant,
    models: BTreeMap<String, Place>,
    /// One model is loaded or unloaded at a time.
    loading: Mutex<()>,
}

/// One model's place.
struct Place {
    setup: ModelSetup,
    metrics: Arc<ModelMetrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Arc<Running>>,
    /// Unloaded by request: not loaded again until that is asked for.
    is_dismissed: bool,
    trouble: Option<String>,
    /// The file's time when it was loaded.
    file_time: Option<SystemTime>,
}

/// A model as the repository index shows it.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_ready: bool,
    pub(crate) reason: String,
}

impl Hosted {
    pub(crate) fn new(hosting: Hosting, models: Vec<ModelSetup>) -> Self {
        let place = |setup: ModelSetup| {
            let place = Place { metrics: Arc::default(), state: Mutex::default(), setup };
            (place.setup.name.clone(), place)
        };
        let models = models.into_iter().map(place).collect();
        Self { hosting, life: Instant::now(), models, loading: Mutex::new(()) }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// Every model, for the index.
    pub(crate) fn index(&self) -> Vec<Entry> {
        let entry = |place: &Place| {
            let state = lock(&place.state);
            Entry {
                name: place.setup.name.clone(),
                is_ready: state.running.is_some(),
                reason: state.trouble.clone().unwrap_or_default(),
            }
        };
        self.models.values().map(entry).collect()
    }

    /// Every model, for the metrics.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let shown = |place: &Place| {
            let running = lock(&place.state).running.clone();
            Shown {
                name: place.setup.name.clone(),
                metrics: Arc::clone(&place.metrics),
                is_loaded: running.is_some(),
                reserved: running.as_ref().and_then(|running| running.reserved),
                queue: running.map(|running| running.queue.depth()).unwrap_or_default(),
            }
        };
        self.models.values().map(shown).collect()
    }

    /// The counters of a model.
    pub(crate) fn metrics(&self, name: &str) -> Result<Arc<ModelMetrics>, Refusal> {
        Ok(Arc::clone(&self.place(name)?.metrics))
    }

    /// Whether a model would answer now, without loading it first.
    pub(crate) fn is_ready(&self, name: &str) -> Result<bool, Refusal> {
        let place = self.place(name)?;
        Ok(lock(&place.state).running.as_ref().is_some_and(|running| running.is_alive()))
    }

    /// A loaded model; loads it if it is not, which blocks.
    pub(crate) fn running(&self, name: &str) -> Result<Arc<Running>, Refusal> {
        let place = self.place(name)?;
        if let Some(running) = alive(place) {
            return Ok(running);
        }
        let _one_at_a_time = lock(&self.loading);
        if let Some(running) = alive(place) {
            return Ok(running);
        }
        if lock(&place.state).is_dismissed {
            return Err(Refusal::new(RefusalKind::Unavailable, format!("model `{name}` was unloaded")));
        }
        self.start(place)
    }

    /// Whether a model can be had without blocking.
    pub(crate) fn running_now(&self, name: &str) -> Result<Option<Arc<Running>>, Refusal> {
        Ok(alive(self.place(name)?))
    }

    /// Loads a model anew: the next one is there before the old one leaves, if memory allows.
    pub(crate) fn load(&self, name: &str) -> Result<(), Refusal> {
        let place = self.place(name)?;
        let _one_at_a_time = lock(&self.loading);
        lock(&place.state).is_dismissed = false;
        self.start(place).map(|_| ())
    }

    /// Answers what waits for a model, then lets it go.
    pub(crate) fn unload(&self, name: &str) -> Result<(), Refusal> {
        let place = self.place(name)?;
        let _one_at_a_time = lock(&self.loading);
        let running = {
            let mut state = lock(&place.state);
            state.is_dismissed = true;
            state.running.take()
        };
        if let Some(running) = running {
            running.stop();
        }
        Ok(())
    }

    /// Answers what waits everywhere, then lets all go.
    pub(crate) fn drain(&self) {
        for place in self.models.values() {
            let running = lock(&place.state).running.take();
            if let Some(running) = running {
                running.stop();
            }
        }
    }

    /// Loads those models anew whose files have changed.
    pub(crate) fn reload_changed(&self) {
        for (name, place) in &self.models {
            let has_changed = {
                let state = lock(&place.state);
                let now = file_time(&place.setup.path);
                state.running.is_some() && now.is_some() && state.file_time.is_some() && now != state.file_time
            };
            if has_changed {
                match self.load(name) {
                    Ok(()) => eprintln!("model `{name}` has changed and was loaded anew"),
                    Err(refusal) => eprintln!("model `{name}` has changed, but cannot be loaded: {refusal}"),
                }
            }
        }
    }

    /// Puts a question to a loaded model. Its inputs are taken out of it, unless that is refused.
    pub(crate) fn ask(
        &self,
        running: &Running,
        question: &mut Question,
    ) -> Result<oneshot::Receiver<Result<Tensors, Refusal>>, Refusal> {
        touch(running, self.life);
        for name in &question.outputs {
            if !running.outputs.iter().any(|info| info.name == *name) {
                return Err(Refusal::bad(format!("there is no output `{name}`")));
            }
        }
        let counted = running.count(&question.inputs)?;
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let timeout = question.timeout.filter(|timeout| !timeout.is_zero()).or(self.hosting.request_timeout);
        let n_bytes = question.n_bytes();
        let request = Waiting {
            inputs: std::mem::take(&mut question.inputs),
            counted,
            n_bytes,
            since,
            deadline: timeout.map(|timeout| since + timeout),
            n_deaths: 0,
            reply,
        };
        match running.queue.put(request) {
            Ok(()) => Ok(answer),
            Err((refusal, request)) => {
                question.inputs = request.inputs;
                Err(refusal)
            }
        }
    }

    fn place(&self, name: &str) -> Result<&Place, Refusal> {
        self.models.get(name).ok_or_else(|| Refusal::new(RefusalKind::NotFound, format!("there is no model `{name}`")))
    }

    /// Loads a model in place of the one that runs; the caller holds `loading`.
    fn start(&self, place: &Place) -> Result<Arc<Running>, Refusal> {
        let started = self.make_room(place).and_then(|(plan, reserved)| {
            Running::start(Start {
                model: place.setup.clone(),
                session: self.hosting.session.clone(),
                program: self.hosting.program.clone(),
                plan,
                reserved,
                rules: self.hosting.rules,
                queue: Queue::new(self.hosting.queue),
                metrics: Arc::clone(&place.metrics),
            })
        });
        let mut state = lock(&place.state);
        match started {
            Ok(running) => {
                touch(&running, self.life);
                state.trouble = None;
                state.file_time = file_time(&place.setup.path);
                let old = state.running.replace(Arc::clone(&running));
                drop(state);
                if let Some(old) = old {
                    // What it has in hand is answered by it.
                    std::thread::spawn(move || old.stop());
                }
                Ok(running)
            }
            Err(refusal) => {
                state.trouble = Some(refusal.message.clone());
                // An older one that runs is better than none.
                Err(refusal)
            }
        }
    }

    /// Finds memory for a model, and what is known about it.
    fn make_room(&self, place: &Place) -> Result<(Plan, Option<Bytes>), Refusal> {
        let session = &self.hosting.session;
        let cannot = |error: onnxfit::Error| {
            Refusal::new(RefusalKind::Unavailable, format!("model `{}` cannot be loaded: {error}", place.setup.name))
        };
        let model = Model::open(&place.setup.path).map_err(cannot)?;
        let setup =
            GuardSetup { batch_dim: place.setup.batch_dim.clone(), offline: session.offline, ..GuardSetup::default() };
        let plan = |limit: Option<Bytes>| {
            let request = session.request(limit.map(Bytes::get)).map_err(cannot)?;
            let options = onnxfit::guard_plan(&model, &request, &setup).map_err(cannot)?.options;
            Ok(Plan { cut: options.cut, needs: options.needs, limit: options.limit.or(limit) })
        };
        let first = plan(session.limit_bytes.map(Bytes))?;
        let Some(budget) = first.limit.filter(|_| self.models.len() > 1 || session.limit_bytes.is_some()) else {
            return Ok((first, None));
        };
        let least = least_bytes(&model, first.needs.as_ref(), &session.dims).unwrap_or(Bytes::ZERO);
        if least > budget {
            let name = &place.setup.name;
            return Err(Refusal::new(
                RefusalKind::DoesNotFit,
                format!("model `{name}` needs {least} for one row, but all models together may take {budget}"),
            ));
        }
        let even = Bytes(budget.get() / self.models.len() as u64);
        let share = even.max(least);
        let mut free = budget.saturating_sub(self.reserved());
        while free < share {
            let Some(victim) = self.least_wanted(place) else { break };
            let running = lock(&victim.state).running.take();
            if let Some(running) = running {
                eprintln!("model `{}` makes room for `{}`", victim.setup.name, place.setup.name);
                running.stop();
            }
            free = budget.saturating_sub(self.reserved());
        }
        if free < least {
            // The model that is to be replaced leaves before the next one is there.
            let old = lock(&place.state).running.take();
            if let Some(old) = old {
                old.stop();
                free = budget.saturating_sub(self.reserved());
            }
        }
        if free < least {
            let name = &place.setup.name;
            return Err(Refusal::new(
                RefusalKind::Unavailable,
                format!("model `{name}` needs {least}, but {free} are free while the other models work"),
            )
            .retry_after(Duration::from_secs(1)));
        }
        // Models that must take turns anyway take all there is.
        let reserved = if least > even { free } else { share.min(free) };
        Ok((plan(Some(reserved))?, Some(reserved)))
    }

    /// What the loaded models may take together.
    fn reserved(&self) -> Bytes {
        let of = |place: &Place| lock(&place.state).running.as_ref().and_then(|running| running.reserved);
        self.models.values().filter_map(of).fold(Bytes::ZERO, |sum, bytes| sum + bytes)
    }

    /// The idle model that was asked longest ago.
    fn least_wanted(&self, but: &Place) -> Option<&Place> {
        let asked = |place: &Place| {
            let state = lock(&place.state);
            let running = state.running.as_ref()?;
            running.queue.is_idle().then(|| running.asked_at_ms.load(std::sync::atomic::Ordering::Relaxed))
        };
        let others = self.models.values().filter(|place| place.setup.name != but.setup.name);
        others.filter_map(|place| Some((asked(place)?, place))).min_by_key(|(at, _)| *at).map(|(_, place)| place)
    }
}

/// What one row takes: open dimensions as named, the others one.
fn least_bytes(
    model: &Model,
    needs: &dyn onnxfit::runtime::guard::BytesNeeded,
    dims: &BTreeMap<String, i64>,
) -> Option<Bytes> {
    needs.bytes_needed(&onnxfit::smallest_sizes(model, dims)?, 1)
}

fn alive(place: &Place) -> Option<Arc<Running>> {
    let state = lock(&place.state);
    state.running.as_ref().filter(|running| running.is_alive()).cloned()
}

fn file_time(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
