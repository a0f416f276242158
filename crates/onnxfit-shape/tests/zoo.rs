//! Every graph of the zoo, with its first variant's sizes: what stays unknown, and who has no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use onnxfit_graph::{Graph, Model};
use onnxfit_onnx::ModelFile;
use onnxfit_shape::{Bindings, GraphFacts, Incremental, Inference, Kind, infer};

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

/// Evaluates the formulas of a graph and its subgraphs where another inference has numbers.
fn disagreements(
    graph: &Graph,
    formulas: &GraphFacts,
    numbers: &GraphFacts,
    symbols: &BTreeMap<String, i64>,
    tally: &mut Tally,
) {
    for (id, node) in graph.nodes() {
        for output in node.outputs.iter().flatten() {
            let (formula, number) = (formulas.fact(*output), numbers.fact(*output));
            let (Some(dims), Some(truth)) = (&formula.shape, number.concrete()) else { continue };
            tally.n_values += 1;
            let evaluated: Option<Vec<i64>> = dims.iter().map(|dim| dim.eval(symbols)).collect();
            match evaluated {
                None => {
                    tally.open.push(format!("{} {} {dims:?} is {truth:?}", graph.value(*output).name, node.op_type))
                }
                Some(evaluated) if evaluated.iter().zip(&truth).any(|(a, b)| i128::from(*a) != i128::from(*b)) => {
                    tally.wrong.push(format!(
                        "{} {} {dims:?} = {evaluated:?} is {truth:?}",
                        graph.value(*output).name,
                        node.op_type
                    ));
                }
                Some(_) => {}
            }
        }
        for (name, inner) in node.subgraphs() {
            if let (Some(formulas), Some(numbers)) = (formulas.subgraph(id, name, 0), numbers.subgraph(id, name, 0)) {
                disagreements(inner, formulas, numbers, symbols, tally);
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    n_values: usize,
    open: Vec<String>,
    wrong: Vec<String>,
}

#[test]
fn formulas_of_one_run_agree_with_runs_on_numbers() {
    let is_loud = std::env::var_os("ONNXFIT_LOUD").is_some();
    let only = std::env::var("ONNXFIT_ONLY").unwrap_or_default();
    let mut wrong = Vec::new();
    for path in zoo("graphs").into_iter().filter(|path| stem(path).contains(&only)) {
        let model = Model::from_proto(&ModelFile::open(&path).unwrap().proto).unwrap();
        let bindings = first_variant(&path);
        let begin = std::time::Instant::now();
        let formulas = infer(&model, &Bindings { values: bindings.values.clone(), ..Bindings::default() });
        let elapsed = begin.elapsed();
        let mut symbols = bindings.dims.clone();
        for (input, shape) in &bindings.inputs {
            let fact = formulas.graph.fact(model.graph.value_named(input).unwrap());
            let dims = fact.shape.iter().flatten().zip(shape);
            symbols.extend(dims.filter_map(|(dim, number)| Some((dim.as_symbol()?.to_owned(), *number))));
        }
        let mut tally = Tally::default();
        disagreements(&model.graph, &formulas.graph, &infer(&model, &bindings).graph, &symbols, &mut tally);
        if is_loud || !tally.open.is_empty() {
            eprintln!(
                "{:40} {:6} values {:5} open {:3} wrong {elapsed:?}",
                stem(&path),
                tally.n_values,
                tally.open.len(),
                tally.wrong.len()
            );
        }
        if is_loud {
            tally
                .open
                .iter()
                .take(6)
                .chain(tally.wrong.iter().take(8))
                .for_each(|line| eprintln!("    {}", line.chars().take(400).collect::<String>()));
        }
        wrong.extend(tally.wrong);
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Values without a fully known type and shape, in the whole graph and its live subgraphs; those
/// apart whose size is not even bounded.
fn unknown(
    graph: &Graph,
    facts: &GraphFacts,
    whole: &Inference,
    path: &str,
    found: &mut Vec<String>,
    unbounded: &mut Vec<String>,
    n_values: &mut usize,
) {
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
                let is_bounded = fact.element_type.is_some()
                    && fact
                        .shape
                        .as_ref()
                        .is_some_and(|shape| shape.iter().all(|dim| whole.most(dim, &BTreeMap::new()).is_some()));
                if !is_bounded {
                    unbounded.push(format!("{path}{} {fact:?}", graph.value(*output).name));
                }
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
                let path = format!("{path}{}.{name}/", graph.node_label(id));
                unknown(inner, inner_facts, whole, &path, found, unbounded, n_values);
            }
        }
    }
}

#[test]
fn the_zoo_has_all_shapes_but_those_that_depend_on_data_and_these_are_bounded() {
    let is_loud = std::env::var_os("ONNXFIT_LOUD").is_some();
    let only = std::env::var("ONNXFIT_ONLY").unwrap_or_default();
    let (mut without_rule, mut unbounded) = (BTreeSet::new(), Vec::new());
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
        unknown(&model.graph, &inference.graph, &inference, "", &mut found, &mut unbounded, &mut n_values);
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
    }
    assert_eq!(without_rule, BTreeSet::new());
    assert_eq!(unbounded, Vec::<String>::new());
}

#[test]
fn what_is_asked_again_at_other_sizes_is_what_is_asked_anew() {
    const NAMES: [&str; 5] = [
        "distilbert_base_cls",
        "retinanet_resnet50_fpn",
        "shufflenet_v2",
        "shipped_silero_vad_v5",
        "t5_small_decoder_merged",
    ];
    for path in zoo("graphs") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !NAMES.contains(&name.as_str()) {
            continue;
        }
        let model = Model::from_proto(&ModelFile::open(&path).unwrap().proto).unwrap();
        let first = first_variant(&path);
        let mut larger = first.clone();
        larger.dims.values_mut().for_each(|size| *size = 2 * *size + 1);
        let mut again = Incremental::default();
        for bindings in [&first, &larger, &larger, &Bindings::default(), &first] {
            let (kept, anew) = (again.infer(&model, bindings), infer(&model, bindings));
            assert_eq!(format!("{kept:?}"), format!("{anew:?}"), "{name} {bindings:?}");
        }
    }
}
