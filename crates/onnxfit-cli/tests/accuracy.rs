//! The ratchet: a row that `results/accuracy.snap` calls exact must still be.
//!
//! Looks at every fifth row of graphs that a debug build reads quickly; `cargo xtask accuracy` looks
//! at all. Skipped without the measurements beside the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A prime that does not keep to one level or model.
const STRIDE: usize = 5;
/// Larger graphs take a debug build seconds each.
const GRAPH_BYTES_MAX: u64 = 400_000;
const N_RUNS: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shared() -> PathBuf {
    std::env::var_os("ONNXFIT_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from)
}

/// Measurements by model, sizes and level, as the snapshot names them.
fn measurements() -> Option<BTreeMap<String, Value>> {
    let zoo = std::fs::read_to_string(shared().join("zoo/ground-truth.jsonl")).ok()?;
    let ours = std::fs::read_to_string(root().join("results/measured.jsonl")).unwrap_or_default();
    let mut rows = BTreeMap::new();
    for line in zoo.lines().chain(ours.lines()) {
        let row: Value = serde_json::from_str(line).expect("a line is JSON");
        let default = row["arena"].as_str().is_none_or(|arena| arena.contains("default"))
            && row["mem_pattern"].as_bool().unwrap_or(true);
        if default && row["arena_run3"].is_object() {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            rows.insert(format!("{}\t{}\t{}", text("model"), row["variant"], text("opt")), row);
        }
    }
    Some(rows)
}

/// Every figure that is not as measured.
fn differences(row: &Value) -> Vec<String> {
    let graph = shared().join(format!("zoo/graphs/{}.onnx", row["model"].as_str().unwrap_or_default()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
    command.arg("check").arg(graph).args(["--provider", "cpu", "--threads", "2", "--json"]);
    command.args(["--opt-level", row["opt"].as_str().unwrap_or_default()]);
    for (name, input) in row["inputs"].as_object().into_iter().flatten() {
        let sizes: Vec<String> = input.as_array().into_iter().flatten().skip(1).map(ToString::to_string).collect();
        command.args(["--shape", &format!("{name}:{}", sizes.join(","))]);
    }
    for (name, size) in row["variant"].as_object().into_iter().flatten() {
        if let Some(size) = size.as_i64() {
            command.args(["--dim", &format!("{name}={size}")]);
        }
    }
    let output = command.output().expect("the command starts");
    let answer: Value = match serde_json::from_slice(&output.stdout) {
        Ok(answer) => answer,
        Err(_) => return vec![String::from_utf8_lossy(&output.stderr).into_owned()],
    };
    let mut places = vec![
        ("/arena/load/in_use_bytes".to_owned(), "/arena_load/in_use".to_owned()),
        ("/arena/load/total_bytes".to_owned(), "/arena_load/total".to_owned()),
    ];
    for run in 0..N_RUNS {
        let (have, want) = (format!("/arena/runs/{run}"), format!("/arena_run{}", run + 1));
        places.push((format!("{have}/peak_in_use_bytes"), format!("{want}/max_in_use")));
        places.push((format!("{have}/total_bytes"), format!("{want}/total")));
    }
    let mut highest = 0;
    let differing = places.into_iter().filter_map(|(have, want)| {
        let bytes = |json: &Value, place: &str| json.pointer(place).and_then(Value::as_u64);
        let (mut predicted, measured) = (bytes(&answer, &have), bytes(row, &want));
        // A counter that never falls tells the highest peak so far, not that of its run alone.
        if have.ends_with("peak_in_use_bytes") && row["peaks"] == "highest so far" {
            highest = highest.max(predicted.unwrap_or(0));
            predicted = Some(highest);
        }
        (predicted != measured).then(|| format!("{have} is {predicted:?} instead of {measured:?}"))
    });
    differing.collect()
}

#[test]
fn what_was_exact_is_still_exact() {
    let Some(rows) = measurements() else {
        eprintln!("skipped: no measurements beside the repository");
        return;
    };
    let snapshot = std::fs::read_to_string(root().join("results/accuracy.snap")).expect("the snapshot is committed");
    let small = |row: &Value| {
        let graph = shared().join(format!("zoo/graphs/{}.onnx", row["model"].as_str().unwrap_or_default()));
        std::fs::metadata(graph).is_ok_and(|file| file.len() <= GRAPH_BYTES_MAX)
    };
    let exact: Vec<(&str, &Value)> = snapshot
        .lines()
        .filter_map(|line| line.strip_suffix("\texact"))
        .filter_map(|key| rows.get(key).map(|row| (key, row)))
        .filter(|(_, row)| small(row))
        .step_by(STRIDE)
        .collect();
    assert!(exact.len() > 10, "only {} rows to look at", exact.len());
    let worse: Vec<String> = exact
        .iter()
        .filter_map(|(key, row)| {
            let differences = differences(row);
            (!differences.is_empty()).then(|| format!("{key}: {}", differences.join("; ")))
        })
        .collect();
    eprintln!("{} of {} rows still exact", exact.len() - worse.len(), exact.len());
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}
