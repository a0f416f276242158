//! The twin against measured sessions of real architectures, optimization off: the arena's peak and
//! total after load and after three runs, equal to the byte or listed here.
//!
//! Needs the shared measurements beside the repository (`ONNXFIT_SHARED` names another place) and
//! is skipped without them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit_graph::{Graph, Model};
use onnxfit_memory::program::NodeIdx;
use onnxfit_memory::rewrite::{Level, RewriteOptions, rewrite};
use onnxfit_memory::sizes::{BodyRun, RunSizes, TensorSize};
use onnxfit_memory::{Prediction, SessionOptions, predict};
use onnxfit_onnx::ModelFile;
use onnxfit_shape::{Bindings, GraphFacts, infer};
use serde_json::Value;

/// Models whose rows may differ, and why.
const KNOWN: &[(&str, &str)] = &[
    ("retinanet_resnet50_fpn", "sizes depend on the boxes that are found"),
    ("shipped_ddddocr_old_int8", "quantised LSTM, integer convolution"),
    ("shipped_silero_vad_v4", "equal weights under two names, whose bytes are absent here"),
    ("ssdlite320_mobilenetv3", "sizes depend on the boxes that are found"),
    ("t5_small_decoder_merged", "the branch not predicted was measured"),
];

fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("ONNXFIT_SHARED").map_or(beside, PathBuf::from);
    root.join("zoo/ground-truth.jsonl").exists().then_some(root)
}

fn rows(zoo: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(zoo.join("ground-truth.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["opt"] == "disable" && row["error"].is_null() && row["placement"] == "external").collect()
}

fn predicted(model: &Model, row: &Value) -> Prediction {
    let mut bindings = Bindings::default();
    for (name, input) in row["inputs"].as_object().unwrap() {
        let dims = input.as_array().unwrap()[1..].iter().map(|dim| dim.as_i64().unwrap()).collect();
        bindings.inputs.insert(name.clone(), dims);
    }
    bindings.values.insert("sr".to_owned(), vec![16_000]);
    let sizes = run_sizes(&model.graph, &infer(model, &bindings).graph);
    predict(model, &vec![sizes; 3], &SessionOptions { n_threads: 2, ..SessionOptions::default() })
}

fn run_sizes(graph: &Graph, facts: &GraphFacts) -> RunSizes {
    let tensor = |fact: &onnxfit_shape::Fact| Some(TensorSize { element: fact.element_type?, dims: fact.concrete()? });
    let tensors = graph.values().map(|(id, _)| facts.get(id).and_then(tensor)).collect();
    let mut bodies = Vec::new();
    for (index, (id, node)) in graph.nodes().filter(|(_, node)| !node.is("Constant")).enumerate() {
        let node_bodies = node.subgraphs().filter_map(|(attribute, body)| {
            let sizes = run_sizes(body, facts.subgraph(id, attribute, 0)?);
            Some(BodyRun { node: NodeIdx::new(index), attribute: attribute.to_owned(), sizes })
        });
        bodies.extend(node_bodies.max_by_key(|body| weight(&body.sizes)));
    }
    RunSizes { tensors, bodies }
}

fn weight(sizes: &RunSizes) -> u64 {
    sizes.tensors.iter().flatten().filter_map(TensorSize::bytes).map(|bytes| bytes.0).sum()
}

/// What differs between a measured row and its prediction; empty when equal to the byte.
fn differences(row: &Value, prediction: &Prediction) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: String, measured: &Value, predicted: u64| {
        if measured.as_u64().is_some_and(|measured| measured != predicted) {
            differences.push(format!("{what} {measured} predicted {predicted}"));
        }
    };
    compare("load in use".to_owned(), &row["arena_load"]["in_use"], prediction.load.in_use_bytes.0);
    compare("load total".to_owned(), &row["arena_load"]["total"], prediction.load.total_allocated_bytes.0);
    for (run, predicted) in prediction.runs.iter().enumerate() {
        let measured = &row[format!("arena_run{}", run + 1)];
        compare(format!("run {run} peak"), &measured["max_in_use"], predicted.peak_in_use_bytes.0);
        compare(format!("run {run} total"), &measured["total"], predicted.total_allocated_bytes.0);
    }
    differences
}

#[test]
fn real_architectures_are_equal_to_the_byte() {
    let Some(shared) = shared() else {
        eprintln!("skipped: no shared measurements");
        return;
    };
    let zoo = shared.join("zoo");
    let all = std::env::var_os("ONNXFIT_ZOO_ALL").is_some();
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    let (mut n_rows, mut n_exact, mut surprises) = (0, 0, Vec::new());
    for row in rows(&zoo) {
        let name = row["model"].as_str().unwrap().to_owned();
        let path = zoo.join(format!("graphs/{name}.onnx"));
        if (!all && models.contains_key(&name)) || !path.exists() {
            continue;
        }
        let model = models.entry(name.clone()).or_insert_with(|| {
            let model = Model::from_proto(&ModelFile::open(path).unwrap().proto).unwrap();
            let options = RewriteOptions { level: Level::Disable, ..RewriteOptions::default() };
            rewrite(&model, &options, None).model
        });
        let differences = differences(&row, &predicted(model, &row));
        n_rows += 1;
        if differences.is_empty() {
            n_exact += 1;
        } else {
            eprintln!("{name} {}: {}", row["variant"], differences.join("; "));
            if !KNOWN.iter().any(|(known, _)| *known == name) {
                surprises.push(name);
            }
        }
    }
    eprintln!("{n_exact} of {n_rows} rows equal to the byte");
    assert!(surprises.is_empty(), "{surprises:?}");
}
