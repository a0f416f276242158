//! What happened, as Prometheus reads it (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onnxfit::Bytes;
use onnxfit::runtime::Tensors;
use onnxfit::runtime::guard::Counts;

use crate::refusal::Refusal;
use crate::worker::Memory;

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// One model's counters.
#[derive(Default)]
pub(crate) struct ModelMetrics {
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    outcomes: BTreeMap<&'static str, u64>,
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
    n_answered: u64,
    n_batches: u64,
    n_batched: u64,
    n_rows: u64,
    run_seconds: f64,
    worker_starts: u64,
    worker_deaths: u64,
    worker_id: u32,
    predicted: Option<Bytes>,
    memory: Memory,
    /// Of this worker, and of those before it.
    counts: Counts,
    earlier: Counts,
}

impl ModelMetrics {
    pub(crate) fn worker(&self, id: u32, memory: Memory) {
        let mut state = self.lock();
        state.worker_starts += 1;
        state.worker_id = id;
        state.memory = memory;
        state.earlier = sum(state.earlier, state.counts);
        state.counts = Counts::default();
    }

    pub(crate) fn worker_died(&self) {
        self.lock().worker_deaths += 1;
    }

    pub(crate) fn predicted(&self, bytes: Option<Bytes>) {
        self.lock().predicted = bytes;
    }

    pub(crate) fn ran(&self, n_requests: usize, rows: u64, counts: Counts, memory: Memory, took: Duration) {
        let mut state = self.lock();
        state.n_batches += 1;
        state.n_batched += n_requests as u64;
        state.n_rows += rows;
        state.run_seconds += took.as_secs_f64();
        state.counts = counts;
        state.memory = memory;
    }

    pub(crate) fn answered(&self, answer: &Result<Tensors, Refusal>, took: Duration) {
        let outcome = answer.as_ref().map_or_else(|refusal| refusal.kind.as_str(), |_| "answered");
        let mut state = self.lock();
        *state.outcomes.entry(outcome).or_default() += 1;
        let seconds = took.as_secs_f64();
        state.seconds += seconds;
        state.n_answered += 1;
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = state.buckets.get_mut(at) {
            *bucket += 1;
        }
    }

    /// Counts a request that was refused before it waited.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        *self.lock().outcomes.entry(refusal.kind.as_str()).or_default() += 1;
    }

    /// What the statistics extension tells: successes, failures, batches, nanoseconds of runs.
    pub(crate) fn statistics(&self) -> Statistics {
        let state = self.lock();
        let n_ok = state.outcomes.get("answered").copied().unwrap_or(0);
        Statistics {
            n_ok,
            n_failed: state.outcomes.values().sum::<u64>() - n_ok,
            n_batches: state.n_batches,
            n_rows: state.n_rows,
            request_ns: (state.seconds * 1e9) as u64,
            run_ns: (state.run_seconds * 1e9) as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the statistics extension tells of a model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) n_ok: u64,
    pub(crate) n_failed: u64,
    pub(crate) n_batches: u64,
    pub(crate) n_rows: u64,
    pub(crate) request_ns: u64,
    pub(crate) run_ns: u64,
}

fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        requests: a.requests + b.requests,
        cut_requests: a.cut_requests + b.cut_requests,
        runs: a.runs + b.runs,
        out_of_memory: a.out_of_memory + b.out_of_memory,
        rows_in_vain: a.rows_in_vain + b.rows_in_vain,
        shrinks: a.shrinks + b.shrinks,
        probes: a.probes + b.probes,
        rows: a.rows + b.rows,
    }
}

/// A model as the metrics show it.
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) metrics: Arc<ModelMetrics>,
    pub(crate) is_loaded: bool,
    pub(crate) reserved: Option<Bytes>,
    pub(crate) queue: (usize, u64),
}

type Reading = fn(&Shown, &State) -> Option<f64>;

/// Name, kind, help, and where it is read.
const SIMPLE: &[(&str, &str, &str, Reading)] = &[
    ("onnxfit_model_loaded", "gauge", "Whether the model is loaded.", |shown, _| Some(f64::from(shown.is_loaded))),
    ("onnxfit_queue_requests", "gauge", "Requests that wait.", |shown, _| Some(shown.queue.0 as f64)),
    ("onnxfit_queue_bytes", "gauge", "Bytes of the requests that wait.", |shown, _| Some(shown.queue.1 as f64)),
    ("onnxfit_limit_bytes", "gauge", "Memory set apart for the model.", |shown, _| {
        shown.reserved.map(|bytes| bytes.get() as f64)
    }),
    ("onnxfit_predicted_bytes", "gauge", "What the last batch was predicted to take as a whole.", |_, state| {
        state.predicted.map(|bytes| bytes.get() as f64)
    }),
    ("onnxfit_arena_in_use_bytes", "gauge", "Bytes of the arena in use between runs.", |_, state| {
        Some(state.memory.in_use_bytes as f64)
    }),
    ("onnxfit_arena_held_bytes", "gauge", "Bytes that the arena holds.", |_, state| {
        Some(state.memory.held_bytes as f64)
    }),
    ("onnxfit_arena_peak_bytes", "gauge", "The most that was ever in use in this worker.", |_, state| {
        Some(state.memory.peak_bytes as f64)
    }),
    ("onnxfit_batches_total", "counter", "Batches that ran.", |_, state| Some(state.n_batches as f64)),
    ("onnxfit_batched_requests_total", "counter", "Requests in them.", |_, state| Some(state.n_batched as f64)),
    ("onnxfit_rows_total", "counter", "Rows in them.", |_, state| Some(state.n_rows as f64)),
    ("onnxfit_runs_total", "counter", "Pieces that ran.", |_, state| {
        Some(sum(state.earlier, state.counts).runs as f64)
    }),
    ("onnxfit_splits_total", "counter", "Batches that were run in more than one piece.", |_, state| {
        Some(sum(state.earlier, state.counts).cut_requests as f64)
    }),
    ("onnxfit_retries_total", "counter", "Runs that ended because memory ran out.", |_, state| {
        Some(sum(state.earlier, state.counts).out_of_memory as f64)
    }),
    ("onnxfit_arena_shrinks_total", "counter", "Times the arena was shrunk.", |_, state| {
        Some(sum(state.earlier, state.counts).shrinks as f64)
    }),
    ("onnxfit_worker_starts_total", "counter", "Worker processes started.", |_, state| {
        Some(state.worker_starts as f64)
    }),
    ("onnxfit_worker_deaths_total", "counter", "Worker processes that died.", |_, state| {
        Some(state.worker_deaths as f64)
    }),
    ("onnxfit_worker_pid", "gauge", "The worker's process id.", |shown, state| {
        shown.is_loaded.then_some(f64::from(state.worker_id))
    }),
];

/// All models in Prometheus's text format.
pub(crate) fn render(models: &[Shown]) -> String {
    let mut text = String::new();
    let states: Vec<State> = models.iter().map(|shown| shown.metrics.lock().clone()).collect();
    let each = || models.iter().zip(&states);
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a `String` cannot fail.
        let _ = text.write_fmt(line);
    };
    for (name, kind, help, read) in SIMPLE {
        put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (shown, state) in each() {
            if let Some(value) = read(shown, state) {
                put(format_args!("{name}{{model=\"{}\"}} {value}\n", escaped(&shown.name)));
            }
        }
    }
    let name = "onnxfit_requests_total";
    put(format_args!("# HELP {name} Requests by how they ended.\n# TYPE {name} counter\n"));
    for (shown, state) in each() {
        for (outcome, count) in &state.outcomes {
            put(format_args!("{name}{{model=\"{}\",outcome=\"{outcome}\"}} {count}\n", escaped(&shown.name)));
        }
    }
    let name = "onnxfit_request_seconds";
    put(format_args!("# HELP {name} From arrival to answer.\n# TYPE {name} histogram\n"));
    for (shown, state) in each() {
        let model = escaped(&shown.name);
        let mut n = 0;
        for (bound, count) in BOUNDS.iter().zip(state.buckets) {
            n += count;
            put(format_args!("{name}_bucket{{model=\"{model}\",le=\"{bound}\"}} {n}\n"));
        }
        put(format_args!("{name}_bucket{{model=\"{model}\",le=\"+Inf\"}} {}\n", state.n_answered));
        put(format_args!("{name}_sum{{model=\"{model}\"}} {}\n", state.seconds));
        put(format_args!("{name}_count{{model=\"{model}\"}} {}\n", state.n_answered));
    }
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
