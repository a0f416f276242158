//! Five releases of ONNX Runtime: rows of `results/releases.jsonl` that were predicted to the byte
//! must still be. The measured figures are in the file, so no library is needed; the graphs lie
//! beside the repository, and without them the test is skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn graph(row: &Value) -> PathBuf {
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    shared.join(format!("zoo/graphs/{}.onnx", row["graph"].as_str().unwrap_or_default()))
}

/// In use and held after load, most in use and held for each run.
fn predicted(row: &Value) -> Vec<u64> {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
    command.arg("check").arg(graph(row)).args(["--provider", "cpu", "--threads", "2", "--json"]);
    command.args(["--opt-level", text("level"), "--ort", text("release")]);
    for shape in row["shapes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        command.args(["--shape", shape]);
    }
    let output = command.output().expect("the command starts");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let figure = |of: &Value, key: &str| of[key].as_u64().unwrap_or_default();
    let load = &answer["arena"]["load"];
    let mut figures = vec![figure(load, "in_use_bytes"), figure(load, "total_bytes")];
    for run in answer["arena"]["runs"].as_array().into_iter().flatten() {
        figures.extend([figure(run, "peak_in_use_bytes"), figure(run, "total_bytes")]);
    }
    figures
}

#[test]
fn every_release_is_still_predicted_where_it_was() {
    let text = std::fs::read_to_string(root().join("results/releases.jsonl")).expect("the rows are committed");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    if !rows.iter().any(|row| graph(row).exists()) {
        eprintln!("skipped: no graphs beside the repository");
        return;
    }
    let mut n_equal: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut worse = Vec::new();
    for row in rows.iter().filter(|row| row["equal"] == true) {
        let measured: Vec<u64> =
            row["measured"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect();
        let predicted = predicted(row);
        if predicted == measured {
            *n_equal.entry((row["release"].to_string(), row["level"].to_string())).or_default() += 1;
        } else {
            let (release, level, graph) = (&row["release"], &row["level"], &row["graph"]);
            worse.push(format!("{release} {level} {graph}: predicted {predicted:?}, measured {measured:?}"));
        }
    }
    eprintln!("{n_equal:?}");
    assert!(worse.is_empty(), "{}", worse.join("\n"));
    assert_eq!(n_equal.len(), 10, "five releases at two levels: {n_equal:?}");
}
