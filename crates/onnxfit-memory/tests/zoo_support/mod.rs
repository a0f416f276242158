//! Graphs of the shared zoo and the sizes of their tensors under measured inputs.
#![allow(dead_code, reason = "each test that includes this uses its part")]

use std::path::{Path, PathBuf};

use onnxfit_graph::{Graph, Model};
use onnxfit_memory::program::NodeIdx;
use onnxfit_memory::rewrite::{Level, RewriteOptions, rewrite};
use onnxfit_memory::sizes::{BodyRun, RunSizes, TensorSize};
use onnxfit_onnx::ModelFile;
use onnxfit_shape::{Bindings, GraphFacts, infer};
use serde_json::Value;

/// The folder of the zoo; `ONNXFIT_SHARED` names another place than beside the repository.
pub(crate) fn zoo() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("ONNXFIT_SHARED").map_or(beside, PathBuf::from);
    let zoo = root.join("zoo");
    if zoo.join("ground-truth.jsonl").exists() {
        return Some(zoo);
    }
    eprintln!("skipped: no shared measurements");
    None
}

/// One JSON value a line.
pub(crate) fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A graph of the zoo as it runs at a level.
pub(crate) fn model(zoo: &Path, name: &str, level: Level) -> Model {
    let file = ModelFile::open(zoo.join(format!("graphs/{name}.onnx"))).unwrap();
    let model = Model::from_proto(&file.proto).unwrap();
    rewrite(&model, &RewriteOptions { level, ..RewriteOptions::default() }, None).model
}

/// The branch of an `If` that was measured, where the inputs decide; the heavier one elsewhere.
const BRANCHES: &[(&str, &str)] = &[("t5_small_decoder_merged", "then_branch")];

/// The branch that the shared measurements of a model took.
pub(crate) fn branch_of(name: &str) -> Option<&'static str> {
    BRANCHES.iter().find(|(model, _)| *model == name).map(|(_, branch)| *branch)
}

/// The tensors of a run with inputs as a row gives them: type, then dimensions.
pub(crate) fn sizes(model: &Model, inputs: &Value, branch: Option<&str>) -> RunSizes {
    let mut bindings = Bindings::default();
    for (name, input) in inputs.as_object().unwrap() {
        let dims = input.as_array().unwrap()[1..].iter().map(|dim| dim.as_i64().unwrap()).collect();
        bindings.inputs.insert(name.clone(), dims);
    }
    bindings.values.insert("sr".to_owned(), vec![16_000]);
    run_sizes(&model.graph, &infer(model, &bindings).graph, branch)
}

fn run_sizes(graph: &Graph, facts: &GraphFacts, branch: Option<&str>) -> RunSizes {
    let tensor = |fact: &onnxfit_shape::Fact| Some(TensorSize { element: fact.element_type?, dims: fact.concrete()? });
    let tensors = graph.values().map(|(id, _)| facts.get(id).and_then(tensor)).collect();
    let mut bodies = Vec::new();
    for (index, (id, node)) in graph.nodes().filter(|(_, node)| !node.is("Constant")).enumerate() {
        let node_bodies = node.subgraphs().filter_map(|(attribute, body)| {
            let sizes = run_sizes(body, facts.subgraph(id, attribute, 0)?, branch);
            Some(BodyRun { node: NodeIdx::new(index), attribute: attribute.to_owned(), sizes, times: 1 })
        });
        bodies.extend(node_bodies.max_by_key(|body| (Some(body.attribute.as_str()) == branch, weight(&body.sizes))));
    }
    RunSizes { tensors, bodies, ..RunSizes::default() }
}

fn weight(sizes: &RunSizes) -> u64 {
    sizes.tensors.iter().flatten().filter_map(TensorSize::bytes).map(|bytes| bytes.0).sum()
}
