//! What is inferred against what really came out, for models that `reference.py` wrote.
//!
//! The operator cases need a Python with `onnx` (`ONNXFIT_PYTHON`, else `python3`); graphs that ran
//! in ONNX Runtime are looked for in `ONNXFIT_SHAPE_REFERENCE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit_graph::{Graph, Model};
use onnxfit_onnx::ModelFile;
use onnxfit_shape::{Bindings, Fact, infer};

#[derive(Default)]
struct Score {
    n_values: usize,
    n_open: usize,
    open: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

fn shape_of(json: &serde_json::Value) -> Vec<i64> {
    json.as_array().unwrap().iter().map(|dim| dim.as_i64().unwrap()).collect()
}

fn map_of(json: &serde_json::Value) -> BTreeMap<String, Vec<i64>> {
    json.as_object().unwrap().iter().map(|(name, list)| (name.clone(), shape_of(list))).collect()
}

/// Compares one model with the truth beside it.
fn compare(path: &Path, score: &mut Score) {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
    let file = ModelFile::open(path).unwrap();
    let Ok(model) = Model::from_proto(&file.proto) else { return };
    let mut bindings =
        Bindings { inputs: map_of(&json["inputs"]), values: map_of(&json["values"]), ..Bindings::default() };
    for (name, number) in json["dims"].as_object().unwrap() {
        bindings.dims.insert(name.clone(), number.as_i64().unwrap());
    }
    let inference = infer(&model, &bindings);
    let label = path.file_stem().unwrap().to_string_lossy().into_owned();
    for (name, truth) in json["truth"].as_object().unwrap() {
        let Some(id) = model.graph.value_named(name) else { continue };
        let (element_type, shape) = (truth[0].as_str().unwrap(), shape_of(&truth[1]));
        let fact = inference.graph.fact(id);
        score.n_values += 1;
        let difference = difference(fact, element_type, &shape);
        if let Some(difference) = difference {
            score.wrong.push(format!("{label}: {name} ({}): {difference}", made_by(&model.graph, name)));
        } else if !fact.is_concrete() {
            score.n_open += 1;
            score.open.insert(format!("{label}: {name} ({}) {fact:?}", made_by(&model.graph, name)), 1);
        }
    }
}

fn made_by(graph: &Graph, name: &str) -> String {
    let producer = graph.value_named(name).and_then(|id| graph.producer(id));
    producer.map_or_else(String::new, |(_, node)| format!("{}::{}", node.domain, node.op_type))
}

/// What an answer says that is not true; what it leaves open is no contradiction.
fn difference(fact: &Fact, element_type: &str, shape: &[i64]) -> Option<String> {
    if let Some(inferred) = fact.element_type
        && inferred.name() != element_type
    {
        return Some(format!("is {element_type}, inferred {inferred}"));
    }
    let inferred = fact.shape.as_ref()?;
    let is_wrong = inferred.len() != shape.len()
        || inferred.iter().zip(shape).any(|(dim, truth)| dim.as_constant().is_some_and(|dim| dim != *truth));
    is_wrong.then(|| format!("is {shape:?}, inferred {inferred:?}"))
}

fn models_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    paths
}

fn report(title: &str, score: &Score) {
    eprintln!("{title}: {} values, {} left open, {} wrong", score.n_values, score.n_open, score.wrong.len());
    if std::env::var_os("ONNXFIT_LOUD").is_some() {
        score.open.keys().for_each(|line| eprintln!("    open: {line}"));
    }
    score.wrong.iter().for_each(|line| eprintln!("    wrong: {line}"));
}

#[test]
fn no_answer_for_an_operator_is_wrong() {
    let python = std::env::var_os("ONNXFIT_PYTHON").unwrap_or_else(|| "python3".into());
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference.py");
    let made = Command::new(python).arg(script).arg("operators").arg(folder.path()).output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: no Python with onnx (set ONNXFIT_PYTHON)");
        return;
    }
    let (mut fed, mut fixed) = (Score::default(), Score::default());
    for path in models_in(folder.path()) {
        let is_fixed = path.file_stem().unwrap().to_string_lossy().ends_with(".fixed");
        compare(&path, if is_fixed { &mut fixed } else { &mut fed });
    }
    report("operator cases, all inputs fed", &fed);
    report("operator cases, small inputs constant", &fixed);
    assert!(fixed.n_values > 2000, "the cases were not found");
    assert_eq!((fed.wrong, fixed.wrong), (Vec::new(), Vec::new()));
}

#[test]
fn no_answer_for_a_graph_that_ran_is_wrong() {
    let Some(folder) = std::env::var_os("ONNXFIT_SHAPE_REFERENCE") else {
        eprintln!("skipped: ONNXFIT_SHAPE_REFERENCE names no folder");
        return;
    };
    let mut wrong = Vec::new();
    for path in models_in(Path::new(&folder)) {
        let mut score = Score::default();
        compare(&path, &mut score);
        report(&path.file_stem().unwrap().to_string_lossy(), &score);
        wrong.extend(score.wrong);
    }
    assert_eq!(wrong, Vec::<String>::new());
}
