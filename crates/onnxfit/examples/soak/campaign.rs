//! The same trace of requests through the guard and through other ways to survive running out of
//! memory, in one capped arena beside a session that takes and gives back as it likes.

use std::fmt::Write as _;
use std::path::Path;

use onnxfit::runtime::guard::{Guard, GuardOptions};
use onnxfit::runtime::{
    ArenaConfig, ArenaExtend, Library, RunError, Session, SessionSpec, Tenant, Tensor, Tensors, locate,
};
use onnxfit::{Bytes, GuardSetup, Model, Provider, Quiet, Request, guard_plan, session_spec, write_runnable};
use onnxfit_onnx::text;

/// A tagger with attention over the words of each row.
const MODEL: &str = "g (float[batch, seq, 32] x) => (float[batch, seq, 8] y, float[batch, 32] z)
    <float[32, 64] w, float[32, 64] k, float[64, 32] u, float[32, 8] v, int64[1] words = {1}> {
        q = MatMul(x, w)
        p = MatMul(x, k)
        t = Transpose<perm = [0, 2, 1]>(p)
        s = MatMul(q, t)
        a = Softmax(s)
        b = MatMul(a, q)
        c = Relu(b)
        d = MatMul(c, u)
        e = Add(d, x)
        y = MatMul(e, v)
        z = ReduceMax<keepdims = 0>(e, words)
    }";

const LIMIT: u64 = 12 << 20;
const ROWS_MAX: u64 = 400;
const WORDS: [u64; 4] = [8, 16, 24, 48];
const HELD_MAX: u64 = 10 << 20;

/// One request, and what the other session holds while it runs.
#[derive(Clone, Copy)]
struct Step {
    rows: u64,
    words: u64,
    held_bytes: u64,
}

/// How one way went.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Requests that were answered and equal to the reference, bit for bit.
    pub(crate) n_equal: u64,
    pub(crate) n_different: u64,
    pub(crate) n_unanswered: u64,
    /// Runs that gave an answer.
    pub(crate) n_runs: u64,
    /// Runs in vain: memory ran out.
    pub(crate) n_out_of_memory: u64,
    /// Rows that were run and thrown away.
    pub(crate) rows_in_vain: u64,
    /// What the arena had in use before and after all.
    pub(crate) in_use: (Bytes, Bytes),
    pub(crate) cpu_seconds: f64,
}

/// The whole campaign.
pub(crate) struct Report {
    pub(crate) n_requests: u64,
    pub(crate) version: String,
    pub(crate) ways: Vec<Way>,
    /// Resident memory of the process, all ways together, after a quarter of the requests and at
    /// the end.
    pub(crate) resident: (Bytes, Bytes),
}

/// Runs all ways in lockstep, a request at a time; `None` without an ONNX Runtime. Says how far it
/// is, in hundredths.
pub(crate) fn soak(n_requests: u64, seed: u64, progress: &mut dyn FnMut(u64)) -> Option<Report> {
    let found = locate::find(&locate::Places::of_this_process());
    let library = Library::load(found.library()?).expect("a library that was found loads");
    let folder = std::env::temp_dir().join(format!("onnxfit-soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let model = written(&folder, "model", MODEL);
    let bench = Bench { library, model: &model };
    let mut racers = vec![
        bench.guarded("onnxfit's guard", true, true),
        bench.guarded("… that cannot read the arena's counters", true, false),
        bench.guarded("… that is told no sizes either", false, false),
        bench.other_way("halving what failed (vrambatch)", halved),
        bench.other_way("starting over with half (accelerate)", started_over),
    ];
    let resident = bench.race(&mut racers, &trace(n_requests, seed), progress);
    let ways = racers.into_iter().map(Racer::finish).collect();
    let _ = std::fs::remove_dir_all(&folder);
    Some(Report { n_requests, version: library.version().to_owned(), ways, resident })
}

fn written(folder: &Path, name: &str, source: &str) -> Model {
    let bare = folder.join(format!("{name}.bare.onnx"));
    let proto = text::parse(source).expect("the model parses");
    std::fs::write(&bare, prost::Message::encode_to_vec(&proto)).expect("a file");
    let bare = Model::open(&bare).expect("it is a model");
    write_runnable(&bare, 7, &folder.join(format!("{name}.onnx")), &Quiet).expect("weights are made up")
}

/// Small requests are more frequent than large ones; the other session changes its mind often.
fn trace(n_requests: u64, seed: u64) -> Vec<Step> {
    let mut state = seed;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    let mut held_bytes = 0;
    let steps = (0..n_requests).map(|_| {
        if draw(10) < 6 {
            held_bytes = draw(HELD_MAX / 1024) * 1024;
        }
        let rows = 1 + draw(ROWS_MAX) * draw(ROWS_MAX) / ROWS_MAX;
        Step { rows, words: WORDS[draw(WORDS.len() as u64) as usize], held_bytes }
    });
    steps.collect()
}

struct Bench<'a> {
    library: &'static Library,
    model: &'a Model,
}

/// A request through one of the other ways: the answer, or nothing.
type Survive = fn(&mut Session, &Tensors, u64, &mut Way) -> Option<Tensors>;

/// One way, who presses it, and how it fares.
struct Racer {
    runner: Runner,
    other: Tenant,
    way: Way,
}

enum Runner {
    Guarded(Box<Guard>),
    Other(Session, Survive),
}

impl Runner {
    fn in_use(&self) -> Bytes {
        let session = match self {
            Self::Guarded(guard) => guard.session(),
            Self::Other(session, _) => session,
        };
        session.arena_stats().expect("counters").in_use
    }
}

impl Racer {
    fn new(name: &'static str, runner: Runner, other: Tenant) -> Self {
        let in_use = runner.in_use();
        let way = Way {
            name,
            n_equal: 0,
            n_different: 0,
            n_unanswered: 0,
            n_runs: 0,
            n_out_of_memory: 0,
            rows_in_vain: 0,
            in_use: (in_use, in_use),
            cpu_seconds: 0.0,
        };
        Self { runner, other, way }
    }

    fn answer(&mut self, step: &Step, inputs: &Tensors, want: &Tensors) {
        self.other.hold(Bytes(step.held_bytes));
        let began = cpu_seconds();
        let got = match &mut self.runner {
            Runner::Guarded(guard) => guard.run(inputs).inspect_err(|error| eprintln!("{error}")).ok(),
            Runner::Other(session, survive) => survive(session, inputs, step.rows, &mut self.way),
        };
        self.way.cpu_seconds += cpu_seconds() - began;
        match got {
            Some(got) if got == *want => self.way.n_equal += 1,
            Some(_) => self.way.n_different += 1,
            None => self.way.n_unanswered += 1,
        }
    }

    fn finish(mut self) -> Way {
        self.other.hold(Bytes::ZERO);
        self.way.in_use.1 = self.runner.in_use();
        if let Runner::Guarded(guard) = &self.runner {
            let counts = guard.counts();
            (self.way.n_runs, self.way.n_out_of_memory) = (counts.runs, counts.out_of_memory);
            self.way.rows_in_vain = counts.rows_in_vain;
        }
        self.way
    }
}

impl Bench<'_> {
    fn guarded(&self, name: &'static str, knows_sizes: bool, reads_counters: bool) -> Racer {
        let (session, other) = self.arena(&[]);
        let mut request = Request::new(Provider::Cpu);
        request.arena_limit = Some(Bytes(LIMIT));
        request.n_threads = 1;
        let plan = guard_plan(self.model, &request, &GuardSetup::default()).expect("a plan");
        let needs: Box<dyn onnxfit::runtime::guard::BytesNeeded> =
            if knows_sizes { plan.options.needs } else { Box::new(onnxfit::runtime::guard::NothingKnown) };
        let options = GuardOptions { needs, reads_counters, ..plan.options };
        let guard = Guard::over(session, options).expect("the limit is enforced");
        Racer::new(name, Runner::Guarded(Box::new(guard)), other)
    }

    fn other_way(&self, name: &'static str, survive: Survive) -> Racer {
        // They give memory back after every run, as those tools empty PyTorch's cache.
        let (session, other) = self.arena(&[("memory.enable_memory_arena_shrinkage", "cpu:0")]);
        Racer::new(name, Runner::Other(session, survive), other)
    }

    /// The model and the other session, in one capped arena.
    fn arena(&self, run_config: &[(&str, &str)]) -> (Session, Tenant) {
        let cpu_arena =
            Some(ArenaConfig { limit: Some(Bytes(LIMIT)), extend: Some(ArenaExtend::Same), ..ArenaConfig::default() });
        let spec = SessionSpec {
            cpu_arena,
            intra_op_threads: Some(1),
            run_config: run_config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..SessionSpec::new(self.model.file().path())
        };
        Tenant::beside(self.library, &spec, Bytes(HELD_MAX), 0).expect("both load")
    }

    /// Sends the trace through all and compares every answer; resident memory after a quarter of
    /// the requests and at the end.
    fn race(&self, racers: &mut [Racer], steps: &[Step], progress: &mut dyn FnMut(u64)) -> (Bytes, Bytes) {
        let mut request = Request::new(Provider::Cpu);
        request.n_threads = 1;
        let spec = session_spec(self.model.file().path(), &request);
        let mut reference = Session::open(self.library, &spec).expect("it loads");
        let mut after_a_quarter = Bytes::ZERO;
        for (at, step) in steps.iter().enumerate() {
            if at == steps.len() / 4 {
                after_a_quarter = resident();
            }
            if at % (steps.len() / 100).max(1) == 0 {
                progress((at * 100 / steps.len()) as u64);
            }
            let inputs = inputs(step);
            let want = reference.run(&inputs).expect("without a limit all run");
            racers.iter_mut().for_each(|racer| racer.answer(step, &inputs, &want));
        }
        (after_a_quarter, resident())
    }
}

fn inputs(step: &Step) -> Tensors {
    let count = step.rows * step.words * 32;
    let values: Vec<f32> = (0..count).map(|at| ((at * 37 % 1013) as f32 - 506.0) / 506.0).collect();
    let tensor = Tensor::from_f32(vec![step.rows, step.words, 32], &values).expect("the values fill it");
    [("x".to_owned(), tensor)].into_iter().collect()
}

/// Runs rows, and if memory runs out each half of them.
fn halved(session: &mut Session, inputs: &Tensors, rows: u64, way: &mut Way) -> Option<Tensors> {
    match session.run(inputs) {
        Ok(outputs) => {
            way.n_runs += 1;
            Some(outputs)
        }
        Err(RunError::OutOfMemory(_)) => {
            way.n_out_of_memory += 1;
            way.rows_in_vain += rows;
            if rows == 1 {
                return None;
            }
            let (left, right) = (part(inputs, 0..rows / 2), part(inputs, rows / 2..rows));
            let left = halved(session, &left, rows / 2, way)?;
            let right = halved(session, &right, rows - rows / 2, way)?;
            Some(joined(&[left, right]))
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs all rows in batches, and if memory runs out begins again with batches half as large.
fn started_over(session: &mut Session, inputs: &Tensors, rows: u64, way: &mut Way) -> Option<Tensors> {
    let mut batch = rows;
    'again: while batch > 0 {
        let mut pieces = Vec::new();
        for start in (0..rows).step_by(batch as usize) {
            let end = rows.min(start + batch);
            match session.run(&part(inputs, start..end)) {
                Ok(outputs) => pieces.push(outputs),
                Err(RunError::OutOfMemory(_)) => {
                    way.n_out_of_memory += 1;
                    way.rows_in_vain += end;
                    batch /= 2;
                    continue 'again;
                }
                Err(error) => panic!("{error}"),
            }
        }
        way.n_runs += pieces.len() as u64;
        return Some(joined(&pieces));
    }
    None
}

fn part(inputs: &Tensors, rows: std::ops::Range<u64>) -> Tensors {
    let cut = |(name, tensor): (&str, &Tensor)| (name.to_owned(), tensor.rows(rows.clone()).expect("rows are there"));
    inputs.iter().map(cut).collect()
}

fn joined(pieces: &[Tensors]) -> Tensors {
    let names: Vec<String> = pieces[0].iter().map(|(name, _)| name.to_owned()).collect();
    let join = |name: String| {
        let parts: Vec<&Tensor> = pieces.iter().filter_map(|piece| piece.get(&name)).collect();
        let whole = Tensor::concatenate(&parts, 0).expect("pieces of one output join");
        (name, whole)
    };
    names.into_iter().map(join).collect()
}

fn resident() -> Bytes {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    Bytes(pages * 4096)
}

/// Seconds of processor time of this process, in steps of a hundredth.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = |at: usize| after.split_whitespace().nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

impl Report {
    /// Whether the guard answered all, rightly, and let no memory go.
    pub(crate) fn is_good(&self) -> bool {
        let guards = &self.ways[..3];
        let answered = guards.iter().all(|way| way.n_equal == self.n_requests);
        let flat = guards.iter().all(|way| way.in_use.0 == way.in_use.1);
        let fewer = self.ways[3..].iter().all(|way| self.ways[0].n_out_of_memory < way.n_out_of_memory);
        answered && flat && fewer
    }

    /// As Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} requests of 1 to {ROWS_MAX} rows of {WORDS:?} words, in a CPU arena of {} that another session takes \
             up to {} of, changing before six of ten requests. ONNX Runtime {}, one thread. Resident memory of all \
             ways together: {} after a quarter of the requests, {} at the end.\n\n\
             | way | equal answers | other answers | unanswered | runs | of them in vain | rows in vain | \
             in use before, after | processor, s |\n\
             |---|---:|---:|---:|---:|---:|---:|---|---:|\n",
            self.n_requests,
            Bytes(LIMIT),
            Bytes(HELD_MAX),
            self.version,
            self.resident.0,
            self.resident.1,
        );
        for way in &self.ways {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {}, {} | {:.1} |",
                way.name,
                way.n_equal,
                way.n_different,
                way.n_unanswered,
                way.n_runs + way.n_out_of_memory,
                way.n_out_of_memory,
                way.rows_in_vain,
                way.in_use.0,
                way.in_use.1,
                way.cpu_seconds,
            );
        }
        text
    }
}
