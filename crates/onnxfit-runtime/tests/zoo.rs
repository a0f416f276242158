//! Measures real architectures again and compares with what another harness measured.
//!
//! The graphs carry no weights, so others stand in. How much memory is taken does not depend on
//! the numbers, except that ONNX Runtime keeps one packed copy of weights that are equal.
//! `ONNXFIT_TEST_ZOO=quick` measures every quick row instead of a few, and `=all` every row.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit_runtime::inputs::{self, InputOptions, InputSpec};
use onnxfit_runtime::worker::{self, Client};
use onnxfit_runtime::{ArenaStats, ElementType, Library, Meter, OptimizationLevel, SessionSpec, locate};
use serde_json::Value;

/// Quick rows: the graph runs in less than this, and has less weight.
const SECONDS_MAX: f64 = 0.5;
const WEIGHT_BYTES_MAX: u64 = 200 << 20;
/// Every so many'th quick row is measured when not all are asked for.
const STRIDE: usize = 12;
/// Models for which stand-in weights will not do, or whose bytes are not a fact of the model.
const LEFT_OUT: &[(&str, &str)] = &[
    ("shipped_minilm_int8", "weights times stand-in scales are all equal, and equal weights are packed once"),
    ("resnet50_qdq_int8", "as above"),
    ("shipped_silero_vad_v4", "its real weights are partly equal, the stand-ins are not"),
    ("efficientnet_b0", "which of two equal free chunks is taken depends on where the regions lie, and that on malloc"),
];

const CHILD: &str = "ONNXFIT_TEST_ZOO_WORKER";

/// Not a test: the worker that the other starts, which is this very program.
#[test]
fn serves_as_a_child() {
    if std::env::var_os(CHILD).is_some() {
        worker::serve(std::io::stdin().lock(), std::io::stdout()).expect("the pipe holds");
    }
}

#[test]
fn real_architectures_take_the_bytes_that_another_harness_measured() {
    let shared = std::env::var_os("ONNXFIT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let Ok(truth) = fs::read_to_string(shared.join("zoo/ground-truth.jsonl")) else {
        eprintln!("skipped: no ground truth beside the repository");
        return;
    };
    let found = locate::find(&locate::Places::of_this_process());
    let Some(library) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return;
    };
    let version = Library::load(library).expect("a library that was found loads").version();
    if !version.starts_with("1.31.") {
        eprintln!("skipped: measured on 1.31, this is {version}");
        return;
    }
    let asked = std::env::var("ONNXFIT_TEST_ZOO").unwrap_or_default();
    let all = asked == "all";
    let rows = truth.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
    let rows: Vec<Value> = rows
        .filter(|row| row.get("error").is_none() && row["arena_run3"].is_object())
        .filter(|row| {
            let quick = row["run1_s"].as_f64() < Some(SECONDS_MAX);
            let made_up = row["model"].as_str().is_some_and(|model| LEFT_OUT.iter().all(|(name, _)| *name != model));
            made_up && (all || (quick && row["weights_bytes"].as_u64() < Some(WEIGHT_BYTES_MAX)))
        })
        .collect();
    let mut measured = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in rows.iter().step_by(if asked.is_empty() { STRIDE } else { 1 }) {
        let name = format!("{} {} {}", row["model"], row["variant"], row["opt"]);
        match measure(library, &shared, row) {
            Ok(differences) if differences.is_empty() => {
                measured.insert(name);
            }
            Ok(differences) => wrong.push(format!("{name}: {}", differences.join(", "))),
            Err(reason) => wrong.push(format!("{name}: {reason}")),
        }
    }
    eprintln!("{} rows equal to the byte, {} not", measured.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!measured.is_empty());
}

fn measure(library: &Path, shared: &Path, row: &Value) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let graph = shared.join(format!("zoo/graphs/{}.onnx", row["model"].as_str().unwrap_or_default()));
    fs::copy(graph, &model).map_err(|error| error.to_string())?;
    write_weights(&folder.path().join("model.onnx.data"), row["weights_bytes"].as_u64().unwrap_or(0));

    let optimization = match row["opt"].as_str() {
        Some("disable") => OptimizationLevel::Disable,
        Some("all") => OptimizationLevel::All,
        other => return Err(format!("unknown level {other:?}")),
    };
    let spec = SessionSpec {
        optimization,
        meter: Meter::ArenaEachRun,
        intra_op_threads: Some(2),
        mem_pattern: row["mem_pattern"].as_bool().unwrap_or(true),
        ..SessionSpec::new(&model)
    };
    // In a process of its own, as the other harness did: which of two equal free chunks the arena
    // takes depends on their addresses.
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "serves_as_a_child", "--nocapture"]).env(CHILD, "1");
    let mut client = Client::spawn_command(command).map_err(|error| error.to_string())?;
    let opened = client.open(library, &spec).map_err(|error| error.to_string())?;
    let mut differences = Vec::new();
    let loaded = opened.arena.ok_or("no arena")?;
    differ("load", &loaded, loaded.max_in_use.get(), &row["arena_load"], &mut differences);

    let tensors = inputs::make(&specs(row)?, InputOptions::default()).map_err(|error| error.to_string())?;
    for run in 1..=3 {
        let measured = client.measure(&tensors).map_err(|error| error.to_string())?.measured;
        let arena = measured.arena_with_outputs.ok_or("no arena")?;
        let peak = measured.trace.ok_or("no trace")?.peak_in_use;
        differ(&format!("run {run}"), &arena, peak.get(), &row[format!("arena_run{run}")], &mut differences);
    }
    Ok(differences)
}

/// Weights of which no two are equal, and every number is as good as zero: now and then a lowest
/// bit, which is a tiny float and, for a table of places, place 0 or 1.
fn write_weights(path: &Path, bytes: u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut slot = [0u8; 64];
    for _ in 0..bytes / 64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        slot[0] = (state >> 63) as u8;
        file.write_all(&slot).expect("a full file");
    }
    let file = file.into_inner().expect("a full file");
    // Alignment between tensors makes the file longer than its tensors; the rest stays sparse.
    file.set_len(bytes + (1 << 30)).expect("a longer file");
}

fn differ(when: &str, have: &ArenaStats, peak: u64, want: &Value, differences: &mut Vec<String>) {
    for (key, have) in [
        ("in_use", have.in_use.get()),
        ("total", have.total_allocated.get()),
        ("max_in_use", peak),
        ("n_allocs", have.num_allocs),
        ("n_reserves", have.num_reserves),
        ("n_ext", have.num_arena_extensions),
    ] {
        if want[key].as_u64() != Some(have) {
            differences.push(format!("{when} {key} is {have} instead of {}", want[key]));
        }
    }
}

/// `{"ids": ["int64", 1, 512]}`
fn specs(row: &Value) -> Result<Vec<InputSpec>, String> {
    let inputs = row["inputs"].as_object().ok_or("no inputs")?;
    let one = |(name, value): (&String, &Value)| {
        let parts = value.as_array().ok_or("an input is no list")?;
        let text = parts.first().and_then(Value::as_str).ok_or("an input has no type")?;
        let text = match text {
            "float32" => "float",
            "float64" => "double",
            other => other,
        };
        let element_type = ElementType::ALL.iter().find(|known| known.as_str() == text).ok_or("an unknown type")?;
        let shape = parts[1..].iter().map(|dim| dim.as_i64().ok_or("a dimension is no number"));
        let shape = shape.collect::<Result<Vec<i64>, &str>>()?;
        Ok(InputSpec { name: name.clone(), element_type: *element_type, shape, role: None })
    };
    inputs.iter().map(one).collect::<Result<Vec<_>, &str>>().map_err(str::to_owned)
}
