//! The twin on CUDA over real architectures: it ends, its bands are in order, and its parts sum.
//!
//! No measurement of a card stands behind this: it holds whatever the numbers are. Needs the shared
//! graphs beside the repository and is skipped without them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use onnxfit_graph::{Graph, Model};
use onnxfit_memory::program::NodeIdx;
use onnxfit_memory::sizes::{BodyRun, RunSizes, TensorSize};
use onnxfit_memory::{Prediction, Provider, SessionOptions, predict};
use onnxfit_onnx::ModelFile;
use onnxfit_shape::{Bindings, Fact, GraphFacts, infer};
use serde_json::Value;

/// The folder of graphs and rows, if there.
fn zoo() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("ONNXFIT_SHARED").map_or(beside, PathBuf::from);
    root.join("zoo/ground-truth.jsonl").exists().then(|| root.join("zoo"))
}

fn model(path: &Path) -> Model {
    Model::from_proto(&ModelFile::open(path).unwrap().proto).unwrap()
}

/// The tensors of a run with inputs as a row gives them: type, then dimensions.
fn sizes(model: &Model, inputs: &Value) -> RunSizes {
    let mut bindings = Bindings::default();
    for (name, input) in inputs.as_object().unwrap() {
        let dims = input.as_array().unwrap()[1..].iter().map(|dim| dim.as_i64().unwrap()).collect();
        bindings.inputs.insert(name.clone(), dims);
    }
    graph_sizes(&model.graph, &infer(model, &bindings).graph)
}

fn graph_sizes(graph: &Graph, facts: &GraphFacts) -> RunSizes {
    let tensor = |fact: &Fact| Some(TensorSize { element: fact.element_type?, dims: fact.concrete()? });
    let tensors = graph.values().map(|(id, _)| facts.get(id).and_then(tensor)).collect();
    let nodes = graph.nodes().filter(|(_, node)| !node.is("Constant"));
    let bodies = nodes.enumerate().flat_map(|(index, (id, node))| {
        node.subgraphs().filter_map(move |(attribute, body)| {
            let sizes = graph_sizes(body, facts.subgraph(id, attribute, 0)?);
            Some(BodyRun { node: NodeIdx::new(index), attribute: attribute.to_owned(), sizes, times: 1 })
        })
    });
    RunSizes { tensors, bodies: bodies.collect(), ..RunSizes::default() }
}

/// What is wrong with a prediction.
fn faults(prediction: &Prediction) -> Vec<String> {
    let mut faults = Vec::new();
    let device = prediction.device;
    if !(device.low <= device.expected && device.expected <= device.high) {
        faults.push(format!("band out of order: {device:?}"));
    }
    let parts = prediction.breakdown;
    let sum = parts.weights_bytes
        + parts.activations_bytes
        + parts.workspace_bytes
        + parts.arena_slack_bytes
        + parts.context_bytes;
    if sum != device.expected {
        faults.push(format!("parts sum to {} of {}", sum.0, device.expected.0));
    }
    for (run, predicted) in prediction.runs.iter().enumerate() {
        let held = prediction.peak(run).moment.bytes();
        if held != predicted.peak_in_use_bytes {
            faults.push(format!(
                "the peak of run {run} is {} but its parts are {}",
                predicted.peak_in_use_bytes.0, held.0
            ));
        }
    }
    faults
}

#[test]
fn real_architectures_on_cuda_have_ordered_bands_and_exact_sums() {
    let Some(zoo) = zoo() else {
        eprintln!("skipped: no shared graphs");
        return;
    };
    let all = std::env::var_os("ONNXFIT_ZOO_ALL").is_some();
    let (mut seen, mut faulty, mut unmodelled) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for line in std::fs::read_to_string(zoo.join("ground-truth.jsonl")).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let Some(name) = row["model"].as_str().map(str::to_owned) else { continue };
        let path = zoo.join(format!("graphs/{name}.onnx"));
        if !path.exists() || row["inputs"].as_object().is_none() || !seen.insert(name.clone()) {
            continue;
        }
        let model = model(&path);
        let sizes = sizes(&model, &row["inputs"]);
        let cards: &[Option<(u32, u32)>] =
            if all { &[None, Some((7, 5)), Some((8, 6)), Some((9, 0))] } else { &[Some((7, 5))] };
        for &compute_capability in cards {
            let options =
                SessionOptions { provider: Provider::Cuda { compute_capability }, ..SessionOptions::default() };
            let prediction = predict(&model, &vec![sizes.clone(); 3], &options);
            faulty.extend(faults(&prediction).into_iter().map(|fault| format!("{name}: {fault}")));
            let named = prediction.diagnostics.iter().filter(|diagnostic| diagnostic.id == "unmodelled-op");
            unmodelled
                .extend(named.map(|diagnostic| diagnostic.message.split('`').nth(1).unwrap_or_default().to_owned()));
            if all {
                let mib = |bytes: onnxfit_base::Bytes| bytes.0 >> 20;
                let device = prediction.device;
                let workspace = mib(prediction.breakdown.workspace_bytes);
                eprintln!(
                    "{name} {compute_capability:?}: {} {} {} MiB, workspace at the peak {workspace}",
                    mib(device.low),
                    mib(device.expected),
                    mib(device.high)
                );
            }
        }
    }
    eprintln!("{} architectures; without a rule: {unmodelled:?}", seen.len());
    assert!(faulty.is_empty(), "{faulty:#?}");
    assert!(!seen.is_empty(), "the zoo has graphs");
}
