//! The smallest arena limit under which a session really runs, and the node that fails below it.
//!
//! Measured with onnxruntime 1.31.1 on the CPU: each row names a limit that ran five times of five
//! and one, a few KiB lower, that failed five times of five. Rows of convolutional nets at level
//! `all` are left out, because that level changes their layout on the CPU.

#[path = "zoo_support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_memory::arena::{ArenaConfig, ArenaExtendStrategy};
use onnxfit_memory::rewrite::Level;
use onnxfit_memory::{Prediction, SessionOptions, predict};
use serde_json::Value;

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn options(row: &Value, limit_bytes: u64) -> SessionOptions {
    let extend_strategy = match text(row, "strategy") {
        "kSameAsRequested" => ArenaExtendStrategy::SameAsRequested,
        _ => ArenaExtendStrategy::NextPowerOfTwo,
    };
    let arena = ArenaConfig { limit: Some(Bytes(limit_bytes)), extend_strategy, ..ArenaConfig::default() };
    SessionOptions { arena, n_threads: 2, ..SessionOptions::default() }
}

/// Operator and name of the node whose request was refused.
fn failing_node(prediction: &Prediction) -> Option<(String, String)> {
    let failure = prediction.failure.as_ref()?;
    let node = failure.node.as_ref();
    Some(node.map(|node| (node.op_type.clone(), node.name.clone())).unwrap_or_default())
}

#[test]
fn the_smallest_limit_that_runs_and_the_node_that_fails_below_it_are_predicted() {
    let Some(zoo) = support::zoo() else { return };
    let inputs: Vec<Value> = support::rows(&zoo.join("ground-truth.jsonl"));
    let (mut n_rows, mut n_exact, mut surprises) = (0, 0, Vec::new());
    let mut models = BTreeMap::new();
    for row in support::rows(&zoo.join("limits.jsonl")) {
        let (name, opt) = (text(&row, "model"), text(&row, "opt"));
        if opt == "all" && ["yolov8n", "resnet18"].contains(&name) {
            continue;
        }
        let level = if opt == "disable" { Level::Disable } else { Level::Extended };
        let (model, sizes) = models.entry((name.to_owned(), opt.to_owned())).or_insert_with(|| {
            let measured = inputs.iter().find(|other| other["model"] == name && other["variant"] == row["variant"]);
            let model = support::model(&zoo, name, level);
            let sizes = support::sizes(
                &model,
                &measured.expect("the variant was measured")["inputs"],
                support::branch_of(name),
            );
            (model, sizes)
        });
        let runs = vec![sizes.clone(); usize::try_from(row["runs"].as_u64().unwrap()).unwrap()];
        let at = |key: &str| predict(model, &runs, &options(&row, row[key].as_u64().unwrap()));
        let (runs_at, fails_at) = (failing_node(&at("min_limit")), failing_node(&at("fails_at")));
        let message = text(&row, "fail_message");
        let same_node = fails_at.as_ref().is_some_and(|(operator, name)| {
            // The last of nested messages names the node; all were cut after 200 letters.
            let (_, tail) = message.rsplit_once("while running ").unwrap_or_default();
            let wanted = format!("{operator} node. Name:'{name}'");
            tail.starts_with(&wanted) || (message.len() == 200 && tail.contains("Name:'/") && wanted.starts_with(tail))
        });
        n_rows += 1;
        if runs_at.is_none() && same_node {
            n_exact += 1;
            continue;
        }
        eprintln!("{name} {opt} {} {}: {runs_at:?}, below {fails_at:?}: {message}", row["strategy"], row["runs"]);
        surprises.push(name.to_owned());
    }
    eprintln!("{n_exact} of {n_rows} boundaries predicted");
    assert!(surprises.is_empty(), "{surprises:?}");
}
