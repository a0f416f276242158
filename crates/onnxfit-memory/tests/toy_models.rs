//! The twin against onnxruntime 1.31.1 on six small models: every counter at every checkpoint, and
//! the smallest arena limit that runs, with the failing node and text below it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit_base::Bytes;
use onnxfit_memory::arena::{ArenaConfig, ArenaExtendStrategy, ArenaStats};
use onnxfit_memory::compile::{CompileOptions, compile};
use onnxfit_memory::lower::lower;
use onnxfit_memory::overhead::Bound;
use onnxfit_memory::simulate::{Compiled, Outcome, SimulateOptions, simulate};
use onnxfit_memory::sizes::{RunSizes, TensorSize};
use onnxfit_onnx::{DataType, ModelFile};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/toy").join(name)
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(data(name)).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

struct Toys {
    compiled: BTreeMap<String, Compiled>,
    shapes: BTreeMap<(String, String), BTreeMap<String, TensorSize>>,
}

impl Toys {
    fn load() -> Self {
        let mut shapes = BTreeMap::<_, BTreeMap<_, _>>::new();
        let mut compiled = BTreeMap::new();
        for line in lines("shapes.txt") {
            let words: Vec<&str> = line.split(' ').collect();
            let [model, feeds, value, element, dims] = words[..] else { panic!("{line}") };
            let dims = dims.split('x').filter(|dim| *dim != "-").map(|dim| dim.parse().unwrap()).collect();
            let size = TensorSize { element: DataType::from_name(element).unwrap(), dims };
            shapes.entry((model.to_owned(), feeds.to_owned())).or_default().insert(value.to_owned(), size);
            compiled.entry(model.to_owned()).or_insert_with(|| {
                let file = ModelFile::open(data(&format!("{model}.onnx"))).unwrap();
                let model = onnxfit_graph::Model::from_proto(&file.proto).unwrap();
                compile(lower(&model), CompileOptions::default())
            });
        }
        Self { compiled, shapes }
    }

    fn simulate(&self, model: &str, arena: ArenaConfig, mem_pattern: bool, feeds: &[&str]) -> Outcome {
        let compiled = &self.compiled[model];
        let runs: Vec<RunSizes> = feeds
            .iter()
            .map(|feeds| {
                let shapes = &self.shapes[&(model.to_owned(), (*feeds).to_owned())];
                let tensors =
                    compiled.program.values.iter().map(|value| shapes.get(value.name.as_str()).cloned()).collect();
                RunSizes { tensors, ..RunSizes::default() }
            })
            .collect();
        let options = SimulateOptions {
            host_arena: arena,
            device_arena: None,
            mem_pattern,
            prepacking: true,
            use_device_allocator_for_initializers: false,
            shrink_after_run: false,
            release: onnxfit_memory::releases::NEWEST_MEASURED,
            n_threads: 1,
            compute_capability: None,
            workspace_bound: Bound::Expected,
        };
        simulate(compiled, &options, &runs)
    }
}

fn arena_named(name: &str) -> ArenaConfig {
    let default = ArenaConfig::default();
    match name {
        "default" | "power" => default,
        "same" => ArenaConfig { extend_strategy: ArenaExtendStrategy::SameAsRequested, ..default },
        "small" => ArenaConfig { initial_chunk_bytes: Bytes(4096), max_dead_bytes_per_chunk: Bytes(65536), ..default },
        _ => panic!("{name}"),
    }
}

fn counters(stats: &ArenaStats, max_in_use: Bytes) -> String {
    [
        stats.in_use_bytes.0,
        max_in_use.0,
        stats.n_allocs,
        stats.n_reserves,
        stats.n_extensions,
        stats.max_alloc_bytes.0,
        stats.total_allocated_bytes.0,
        stats.requested_in_use_bytes.0,
    ]
    .map(|counter| counter.to_string())
    .join(" ")
}

#[test]
fn every_counter_of_36_sessions_is_equal() {
    let toys = Toys::load();
    let (mut n_sessions, mut wrong) = (0, Vec::new());
    let mut predicted: Vec<String> = Vec::new();
    for line in lines("measured.txt") {
        if let Some(checkpoint) = line.strip_prefix("  ") {
            let expected = predicted.remove(0);
            if checkpoint != expected {
                wrong.push(format!("session {n_sessions}: measured {checkpoint}, predicted {expected}"));
            }
            continue;
        }
        assert!(predicted.is_empty(), "every prediction is compared");
        n_sessions += 1;
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = toys.simulate(words[0], arena_named(words[1]), words[2] == "on", &words[3..]);
        let mut peak = outcome.load.host.max_in_use_bytes;
        predicted.push(format!("load {}", counters(&outcome.load.host, peak)));
        for (run, outcome) in outcome.runs.iter().enumerate() {
            peak = peak.max(outcome.at_end.host.max_in_use_bytes);
            predicted.push(format!("run{run} {}", counters(&outcome.at_end.host, peak)));
            predicted.push(format!("run{run}_released {}", counters(&outcome.released.host, peak)));
        }
    }
    assert_eq!(n_sessions, 36);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_smallest_limit_that_runs_is_equal_in_24_cases() {
    let toys = Toys::load();
    let mut n_cases = 0;
    let mut case: Vec<String> = Vec::new();
    for line in lines("boundaries.txt") {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with("  ") {
            case = words.iter().map(|word| (*word).to_owned()).collect();
            n_cases += 1;
        }
        let feeds: Vec<&str> = case[4..].iter().map(String::as_str).collect();
        let run = |limit: u64| {
            let arena = ArenaConfig { limit: Some(Bytes(limit)), ..arena_named(&case[1]) };
            toys.simulate(&case[0], arena, case[2] == "on", &feeds).failure
        };
        if line.starts_with("  ") {
            let failure = run(words[0].parse().unwrap()).unwrap();
            let node = failure.node.unwrap();
            assert_eq!(
                [&node.op_type, &node.name, &failure.error.to_string()],
                [words[1], words[2], &words[3..].join(" ")]
            );
        } else {
            let limit: u64 = words[3].parse().unwrap();
            assert_eq!(run(limit), None, "{line}");
        }
    }
    assert_eq!(n_cases, 24);
}
