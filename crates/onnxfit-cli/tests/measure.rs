//! `onnxfit measure` against ONNX Runtime itself. Skipped where no ONNX Runtime is found.

use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit::runtime::locate::{Places, find};
use serde_json::Value;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("model.onnx")
}

/// The answer and the exit code; `None` without an ONNX Runtime.
fn measure(model: &str, arguments: &[&str]) -> Option<(Value, i32)> {
    if find(&Places::of_this_process()).library().is_none() {
        eprintln!("skipped: no ONNX Runtime was found");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_onnxfit"))
        .arg("measure")
        .arg(example(model))
        .args(["--provider", "cpu", "--threads", "2", "--random-weights", "7", "--offline", "--json"])
        .args(arguments)
        .output()
        .expect("the command starts");
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    Some((json, output.status.code().expect("the command ends by itself")))
}

#[test]
fn a_recurrent_language_model_takes_what_was_predicted() {
    let sizes = ["--opt-level", "extended", "--dim", "batch=2", "--dim", "seq=16"];
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let trace = folder.path().join("trace.txt");
    let trace_argument = trace.to_string_lossy().into_owned();
    let arguments: Vec<&str> = sizes.into_iter().chain(["--trace", &trace_argument]).collect();
    let Some((view, code)) = measure("lstm_lm", &arguments) else { return };
    assert_eq!(view["schema"], "onnxfit.measure/1");
    let line = view["accuracy"]["text"].as_str().expect("an accuracy line");
    assert!(line.starts_with("equal to the byte: 14 of 14 figures"), "{line}");
    assert_eq!(code, 0);
    assert_eq!(view["extensions"]["predicted_bytes"], view["extensions"]["measured_bytes"]);
    assert!(view["process"]["peak_resident_bytes"].as_u64() > Some(1 << 20));

    // The traffic really is one: what is released was taken, and every run asks for something.
    let trace = std::fs::read_to_string(&trace).expect("a trace was written");
    let mut live = std::collections::BTreeSet::new();
    for line in trace.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["a" | "r", id, _] => assert!(live.insert(id), "{id} is taken twice"),
            ["f", id] => assert!(live.remove(id), "{id} was not taken"),
            _ => {}
        }
    }
    assert_eq!(trace.lines().filter(|line| line.starts_with("run ")).count(), 3);
}

#[test]
fn a_sweep_stops_at_the_predicted_limit_and_says_where_more_no_longer_pays() {
    let arguments = ["--opt-level", "extended", "--dim", "seq=16", "--on", "80MiB", "--sweep", "batch=1..64"];
    let Some((view, code)) = measure("lstm_lm", &arguments) else { return };
    assert_eq!((view["schema"].as_str(), code), (Some("onnxfit.sweep/1"), 0));
    let largest = view["largest"].as_i64().expect("something ran");
    let steps = view["steps"].as_array().expect("steps");
    assert!((1..64).contains(&largest), "{view:#}");
    for step in steps {
        let ran = step["throughput"].is_number();
        assert_eq!(ran, step["size"].as_i64() <= Some(largest), "{step:#}");
        if ran {
            assert_eq!(step["predicted_peak_bytes"], step["measured_peak_bytes"], "{step:#}");
            assert_eq!(step["predicted_held_bytes"], step["measured_held_bytes"], "{step:#}");
        }
    }
    assert!(steps.iter().any(|step| step["size"] == view["knee"]), "{view:#}");
}

#[test]
fn options_of_arena_and_run_do_what_the_twin_says() {
    let sizes = ["--opt-level", "extended", "--dim", "batch=2", "--dim", "seq=16"];
    let options: [&[&str]; 5] = [
        &["--initial-chunk", "30000000", "--mem-pattern", "off"],
        &["--dead-bytes", "65536"],
        &["--arena-extend", "same", "--shrink"],
        &["--shrink", "--mem-pattern", "off"],
        &["--initial-chunk", "3000000", "--dead-bytes", "1048576", "--shrink"],
    ];
    for option in options {
        let arguments: Vec<&str> = sizes.iter().chain(option).copied().collect();
        let Some((view, code)) = measure("lstm_lm", &arguments) else { return };
        let line = view["accuracy"]["text"].as_str().expect("an accuracy line");
        assert_eq!(code, 0, "{option:?}: {line}");
    }
}
