//! Every graph of the zoo, with its first variant's sizes: what stays unknown, and who has no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use onnxfit_graph::{Graph, Model};
use onnxfit_onnx::ModelFile;
use onnxfit_shape::{Bindings, GraphFacts, Kind, infer};

fn zoo(folder: &str) -> Vec<PathBuf> {
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(shared.join("zoo").join(folder)) else {
        eprintln!("skipped: no zoo beside the repository");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    name.split('.').next().unwrap().to_owned()
}

/// The sizes of a graph's first measured variant, and the inputs that were filled with a constant.
fn first_variant(path: &Path) -> Bindings {
    let meta = path.parent().unwrap().with_file_name("graphs").join(format!("{}.meta.json", stem(path)));
    let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
    let mut bindings = Bindings::default();
    for (name, number) in meta["variants"][0].as_object().into_iter().flatten() {
        bindings.dims.extend(number.as_i64().map(|number| (name.clone(), number)));
    }
    for (input, shape) in meta["shapes"].as_object().into_iter().flatten() {
        let number = |dim: &serde_json::Value| dim.as_i64().unwrap_or_else(|| bindings.dims[dim.as_str().unwrap()]);
        bindings.inputs.insert(input.clone(), shape.as_array().unwrap().iter().map(number).collect());
    }
    for (input, fill) in meta["fills"].as_object().into_iter().flatten() {
        let number = fill.as_str().and_then(|fill| fill.strip_prefix("const:")?.parse().ok());
        bindings.values.extend(number.map(|number| (input.clone(), vec![number])));
    }
    bindings
}

/// Values without a fully known type and shape, in the whole graph and its live subgraphs.
fn unknown(graph: &Graph, facts: &GraphFacts, path: &str, found: &mut Vec<String>, n_values: &mut usize) {
    for (id, node) in graph.nodes() {
        for output in node.outputs.iter().flatten() {
            *n_values += 1;
            let fact = facts.fact(*output);
            if fact.kind == Kind::Tensor && !fact.is_concrete() || fact.kind == Kind::Unknown {
                let inputs: Vec<String> = node
                    .inputs
                    .iter()
                    .flatten()
                    .map(|input| {
                        format!(
                            "{:?}={:?}",
                            facts.fact(*input).shape,
                            facts.fact(*input).value.as_ref().map(|_| "known")
                        )
                    })
                    .collect();
                found.push(format!(
                    "{path}{} {} {:?} {:?} <- {}",
                    graph.value(*output).name,
                    node.op_type,
                    fact.element_type,
                    fact.shape,
                    inputs.join(" ")
                ));
            }
        }
        for (name, inner) in node.subgraphs() {
            if let Some(inner_facts) = facts.subgraph(id, name, 0) {
                unknown(inner, inner_facts, &format!("{path}{}.{name}/", graph.node_label(id)), found, n_values);
            }
        }
    }
}

#[test]
fn the_zoo_has_all_shapes_that_its_sizes_determine() {
    let is_loud = std::env::var_os("ONNXFIT_LOUD").is_some();
    let only = std::env::var("ONNXFIT_ONLY").unwrap_or_default();
    let (mut without_rule, mut table) = (BTreeSet::new(), BTreeMap::new());
    for path in zoo("graphs").into_iter().chain(zoo("optimized")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let file = ModelFile::open(&path).unwrap();
        let model = Model::from_proto(&file.proto).unwrap();
        let begin = std::time::Instant::now();
        let inference = infer(&model, &first_variant(&path));
        let elapsed = begin.elapsed();
        let (mut found, mut n_values) = (Vec::new(), 0);
        unknown(&model.graph, &inference.graph, "", &mut found, &mut n_values);
        for diagnostic in &inference.diagnostics {
            if diagnostic.id == "unknown-operator" {
                without_rule.insert(diagnostic.message.clone());
            }
            if is_loud && diagnostic.id != "shape-assumption" {
                eprintln!("{name}: {diagnostic}");
            }
        }
        if !found.is_empty() || is_loud {
            eprintln!("{name:40} {n_values:6} values {:5} unknown {elapsed:?}", found.len());
            for line in found.iter().take(if is_loud { 12 } else { 0 }) {
                eprintln!("    {}", line.chars().take(400).collect::<String>());
            }
        }
        table.insert(name, found.len());
    }
    assert_eq!(without_rule, BTreeSet::new());
    let _ = table;
}
