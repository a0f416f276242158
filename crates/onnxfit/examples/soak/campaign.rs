//! The same trace of requests through the guard and through other ways to survive running out of
//! memory, in one capped arena beside a session that takes and gives back as it likes.

use std::fmt::Write as _;
use std::path::Path;

use onnxfit::runtime::guard::{Guard, GuardOptions};
use onnxfit::runtime::{
    ArenaConfig, ArenaExtend, Library, Outputs, RunError, Session, SessionSpec, Tensor, Tensors, locate,
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

/// What the other session holds: its input, negated.
const OTHER: &str = "g (float[n] x) => (float[n] y) { y = Neg(x) }";

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
    /// Resident memory of the process after a quarter of the requests and at the end.
    pub(crate) resident: (Bytes, Bytes),
    pub(crate) cpu_seconds: f64,
}

/// The whole campaign.
pub(crate) struct Report {
    pub(crate) n_requests: u64,
    pub(crate) version: String,
    pub(crate) ways: Vec<Way>,
}

/// Runs all ways; `None` without an ONNX Runtime.
pub(crate) fn soak(n_requests: u64, seed: u64) -> Option<Report> {
    let found = locate::find(&locate::Places::of_this_process());
    let library = Library::load(found.library()?).expect("a library that was found loads");
    let folder = std::env::temp_dir().join(format!("onnxfit-soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let model = written(&folder, "model", MODEL);
    let other = written(&folder, "other", OTHER);
    let steps = trace(n_requests, seed);
    let bench = Bench { library, model: &model, other: &other, steps: &steps };
    let ways = vec![
        bench.guarded("onnxfit's guard", true, true),
        bench.guarded("… that cannot read the arena's counters", true, false),
        bench.guarded("… that is told no sizes either", false, false),
        bench.way("halving what failed (vrambatch)", halved),
        bench.way("starting over with half (accelerate)", started_over),
    ];
    let _ = std::fs::remove_dir_all(&folder);
    Some(Report { n_requests, version: library.version().to_owned(), ways })
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
    other: &'a Model,
    steps: &'a [Step],
}

/// A request through one of the other ways: the answer, or nothing.
type Survive = fn(&mut Session, &Tensors, u64, &mut Way) -> Option<Tensors>;

impl Bench<'_> {
    fn guarded(&self, name: &'static str, knows_sizes: bool, reads_counters: bool) -> Way {
        let mut arena = self.arena(&[]);
        let mut request = Request::new(Provider::Cpu);
        request.arena_limit = Some(Bytes(LIMIT));
        request.n_threads = 1;
        let plan = guard_plan(self.model, &request, &GuardSetup::default()).expect("a plan");
        let needs: Box<dyn onnxfit::runtime::guard::BytesNeeded> =
            if knows_sizes { plan.options.needs } else { Box::new(onnxfit::runtime::guard::NothingKnown) };
        let options = GuardOptions { needs, reads_counters, held_by_others: arena.others_own, ..plan.options };
        let session = arena.session.take().expect("the arena has one");
        let mut guard = Guard::over(session, options).expect("the limit is enforced");
        let in_use = |guard: &Guard| guard.session().arena_stats().expect("counters").in_use;
        let before = in_use(&guard);
        let mut way = self.drive(name, &mut arena, |inputs, _, way| {
            let counts = guard.counts();
            let answer = guard.run(inputs);
            if let Err(error) = &answer {
                eprintln!("{error}");
            }
            way.rows_in_vain += guard.counts().rows_in_vain - counts.rows_in_vain;
            answer.ok()
        });
        (way.n_runs, way.n_out_of_memory) = (guard.counts().runs, guard.counts().out_of_memory);
        way.in_use = (before, in_use(&guard));
        way
    }

    fn way(&self, name: &'static str, survive: Survive) -> Way {
        // They give memory back after every run, as those tools empty PyTorch's cache.
        let mut arena = self.arena(&[("memory.enable_memory_arena_shrinkage", "cpu:0")]);
        let mut session = arena.session.take().expect("the arena has one");
        let before = session.arena_stats().expect("counters").in_use;
        let mut way = self.drive(name, &mut arena, |inputs, rows, way| survive(&mut session, inputs, rows, way));
        way.in_use = (before, session.arena_stats().expect("counters").in_use);
        way
    }

    /// The model and the other session, in one capped arena.
    fn arena(&self, run_config: &[(&str, &str)]) -> Arena {
        let cpu_arena =
            Some(ArenaConfig { limit: Some(Bytes(LIMIT)), extend: Some(ArenaExtend::Same), ..ArenaConfig::default() });
        let spec = |model: &Model, config: &[(&str, &str)]| SessionSpec {
            cpu_arena,
            intra_op_threads: Some(1),
            run_config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..SessionSpec::new(model.file().path())
        };
        let gives_back = [("memory.enable_memory_arena_shrinkage", "cpu:0")];
        let specs = [spec(self.model, run_config), spec(self.other, &gives_back)];
        let mut sessions = Session::open_together(self.library, &specs).expect("both load");
        let other = sessions.pop().expect("the second");
        // The other session has no weights: what is in use is the model's.
        Arena { session: sessions.pop(), other, holding: None, others_own: Bytes::ZERO }
    }

    /// Sends the trace and compares every answer.
    fn drive(
        &self,
        name: &'static str,
        arena: &mut Arena,
        mut answer: impl FnMut(&Tensors, u64, &mut Way) -> Option<Tensors>,
    ) -> Way {
        let mut request = Request::new(Provider::Cpu);
        request.n_threads = 1;
        let spec = session_spec(self.model.file().path(), &request);
        let mut reference = Session::open(self.library, &spec).expect("it loads");
        let mut way = Way {
            name,
            n_equal: 0,
            n_different: 0,
            n_unanswered: 0,
            n_runs: 0,
            n_out_of_memory: 0,
            rows_in_vain: 0,
            in_use: (Bytes::ZERO, Bytes::ZERO),
            resident: (Bytes::ZERO, Bytes::ZERO),
            cpu_seconds: 0.0,
        };
        for (at, step) in self.steps.iter().enumerate() {
            if at == self.steps.len() / 4 {
                way.resident.0 = resident();
            }
            let inputs = inputs(step);
            let want = reference.run(&inputs).expect("without a limit all run");
            arena.hold(step.held_bytes);
            let began = cpu_seconds();
            let got = answer(&inputs, step.rows, &mut way);
            way.cpu_seconds += cpu_seconds() - began;
            match got {
                Some(got) if got == want => way.n_equal += 1,
                Some(_) => way.n_different += 1,
                None => way.n_unanswered += 1,
            }
        }
        arena.holding = None;
        way.resident.1 = resident();
        way
    }
}

struct Arena {
    session: Option<Session>,
    other: Session,
    holding: Option<(u64, Outputs)>,
    others_own: Bytes,
}

impl Arena {
    /// Makes the other session hold this much; less if there is not so much.
    fn hold(&mut self, bytes: u64) {
        if self.holding.as_ref().is_some_and(|(held, _)| *held == bytes) {
            return;
        }
        self.holding = None;
        let mut try_bytes = bytes;
        while try_bytes >= 1024 {
            let count = try_bytes / 4;
            let values = Tensor::from_bytes(
                onnxfit::runtime::ElementType::Float,
                vec![count],
                vec![0; usize::try_from(try_bytes).expect("a few megabytes")],
            );
            let inputs: Tensors = [("x".to_owned(), values.expect("the bytes fill it"))].into_iter().collect();
            // A run that fails gives back what the arena does not use, so the second try has it.
            for _ in 0..2 {
                if let Ok(outputs) = self.other.run_holding(&inputs) {
                    self.holding = Some((bytes, outputs));
                    return;
                }
            }
            try_bytes = try_bytes / 2 / 4 * 4;
        }
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
             up to {} of, changing before six of ten requests. ONNX Runtime {}, one thread.\n\n\
             | way | equal answers | other answers | unanswered | runs | of them in vain | rows in vain | \
             in use before, after | resident at a quarter, at the end | processor, s |\n\
             |---|---:|---:|---:|---:|---:|---:|---|---|---:|\n",
            self.n_requests,
            Bytes(LIMIT),
            Bytes(HELD_MAX),
            self.version,
        );
        for way in &self.ways {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {}, {} | {}, {} | {:.1} |",
                way.name,
                way.n_equal,
                way.n_different,
                way.n_unanswered,
                way.n_runs + way.n_out_of_memory,
                way.n_out_of_memory,
                way.rows_in_vain,
                way.in_use.0,
                way.in_use.1,
                way.resident.0,
                way.resident.1,
                way.cpu_seconds,
            );
        }
        text
    }
}
