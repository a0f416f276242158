//! The twin against measured sessions of real architectures: the arena's peak and total after load
//! and after three runs, equal to the byte or listed here.
//!
//! With optimization off the measurements are the shared ones (skipped without them). Levels
//! `basic` and `extended` were measured with onnxruntime 1.31.1, CPU provider, two threads, random
//! weights, on the exporter's own graphs: `results/measured.jsonl` holds bytes in use and total after
//! load, then for each run the highest bytes in use so far, the total and the number of allocations.

#[path = "zoo_support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_graph::Model;
use onnxfit_memory::rewrite::Level;
use onnxfit_memory::{Prediction, SessionOptions, predict};
use serde_json::Value;

/// Models whose rows may differ, at which level, and why.
const KNOWN: &[(&str, &str, &str)] = &[
    ("retinanet_resnet50_fpn", "", "sizes depend on the boxes that are found"),
    ("ssdlite320_mobilenetv3", "", "sizes depend on the boxes that are found"),
];

/// One measured session.
struct Measured {
    model: String,
    level: &'static str,
    variant: String,
    inputs: Value,
    /// In use and total.
    load: [u64; 2],
    /// Peak and total, run by run.
    runs: Vec<[u64; 2]>,
    /// Whether a run's peak is the highest so far, or its own.
    peaks_so_far: bool,
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// The shared rows, optimization off.
fn disabled(zoo: &Path) -> Vec<Measured> {
    let rows = support::rows(&zoo.join("ground-truth.jsonl"));
    let wanted = rows
        .into_iter()
        .filter(|row| row["opt"] == "disable" && row["error"].is_null() && row["placement"] == "external");
    wanted.map(|row| measured(&row, "disable")).collect()
}

/// The rows of this repository.
fn rewritten(level: &'static str) -> Vec<Measured> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../results/measured.jsonl");
    let rows = support::rows(&path).into_iter().filter(|row| row["opt"] == level);
    rows.map(|row| measured(&row, level)).collect()
}

fn measured(row: &Value, level: &'static str) -> Measured {
    Measured {
        model: row["model"].as_str().unwrap().to_owned(),
        level,
        variant: row["variant"].to_string(),
        inputs: row["inputs"].clone(),
        load: [number(&row["arena_load"]["in_use"]), number(&row["arena_load"]["total"])],
        runs: ["arena_run1", "arena_run2", "arena_run3"]
            .into_iter()
            .map(|run| &row[run])
            .filter(|run| !run.is_null())
            .map(|run| [number(&run["max_in_use"]), number(&run["total"])])
            .collect(),
        peaks_so_far: row["peaks"] == "highest so far",
    }
}

/// What differs between a measured session and its prediction; empty when equal to the byte.
fn differences(measured: &Measured, prediction: &Prediction) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: String, measured: u64, predicted: u64| {
        if measured != predicted {
            differences.push(format!("{what} {measured} predicted {predicted}"));
        }
    };
    compare("load in use".to_owned(), measured.load[0], prediction.load.in_use_bytes.0);
    compare("load total".to_owned(), measured.load[1], prediction.load.total_allocated_bytes.0);
    let mut highest = prediction.load.max_in_use_bytes.0;
    for (run, (measured_run, predicted)) in measured.runs.iter().zip(&prediction.runs).enumerate() {
        let own = predicted.peak_in_use_bytes.0;
        highest = highest.max(own);
        let peak = if measured.peaks_so_far { highest } else { own };
        compare(format!("run {run} peak"), measured_run[0], peak);
        compare(format!("run {run} total"), measured_run[1], predicted.total_allocated_bytes.0);
    }
    differences
}

/// Predicts every row (the first of each model unless `ONNXFIT_ZOO_ALL` is set) and compares.
fn check(zoo: &Path, rows: Vec<Measured>, level: Level) {
    let all = std::env::var_os("ONNXFIT_ZOO_ALL").is_some();
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    let (mut n_rows, mut n_exact, mut surprises) = (0, 0, Vec::new());
    for row in rows {
        if (!all && models.contains_key(&row.model)) || !zoo.join(format!("graphs/{}.onnx", row.model)).exists() {
            continue;
        }
        let model = models.entry(row.model.clone()).or_insert_with(|| support::model(zoo, &row.model, level));
        let options = SessionOptions { n_threads: 2, ..SessionOptions::default() };
        let branch = if row.level == "disable" { support::branch_of(&row.model) } else { None };
        let prediction = predict(model, &vec![support::sizes(model, &row.inputs, branch); 3], &options);
        let differences = differences(&row, &prediction);
        n_rows += 1;
        if differences.is_empty() {
            n_exact += 1;
            continue;
        }
        eprintln!("{} {}: {}", row.model, row.variant, differences.join("; "));
        let is_known = |(name, at, _): &(&str, &str, &str)| *name == row.model && (at.is_empty() || *at == row.level);
        if !KNOWN.iter().any(is_known) {
            surprises.push(row.model);
        }
    }
    eprintln!("{level:?}: {n_exact} of {n_rows} rows equal to the byte");
    assert!(n_exact > 0 && surprises.is_empty(), "{surprises:?}");
}

#[test]
fn real_architectures_are_equal_to_the_byte_with_optimization_off() {
    if let Some(zoo) = support::zoo() {
        check(&zoo, disabled(&zoo), Level::Disable);
    }
}

#[test]
fn real_architectures_are_equal_to_the_byte_with_basic_rewrites() {
    if let Some(zoo) = support::zoo() {
        check(&zoo, rewritten("basic"), Level::Basic);
    }
}

#[test]
fn real_architectures_are_equal_to_the_byte_straight_from_the_exporter() {
    if let Some(zoo) = support::zoo() {
        check(&zoo, rewritten("extended"), Level::Extended);
    }
}
