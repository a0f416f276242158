//! Converted models against the originals: in the real ONNX Runtime where there is one, and over
//! every real architecture at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_graph::Model;
use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::{ModelFile, RandomWeights, SaveOptions, TensorSource, WeightStore, save, text};
use onnxfit_rewrite::half::{HalfOptions, HalfOutcome, HalfType, Reason, to_half};
use onnxfit_rewrite::weight_roles::roles;
use onnxfit_runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::{Library, Session, SessionSpec, locate};

fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

fn zoo(folder: &str) -> Vec<PathBuf> {
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(shared.join("zoo").join(folder)) else {
        eprintln!("skipped: no zoo beside the repository");
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    paths.sort();
    paths
}

/// Runs the model before and after, on the same inputs; says what differs.
fn differs(library: &'static Library, proto: &ModelProto, weights: &WeightStore, size: usize) -> Result<(), String> {
    let model = Model::from_proto(proto).map_err(|error| error.to_string())?;
    let weights = RandomWeights::new(weights, 1, roles(&model));
    let outcome = to_half(&model, &weights, &HalfOptions::new(HalfType::Float16)).map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let write = |name: &str, proto: &ModelProto, source: &dyn TensorSource| {
        let path = folder.path().join(name);
        save(proto, &path, &SaveOptions::new(source)).map(|_| path).map_err(|error| error.to_string())
    };
    let before = write("float.onnx", proto, &weights)?;
    let after = write("half.onnx", &outcome.model.to_proto(), &outcome.source(&weights))?;
    let mut before = Session::open(library, &SessionSpec::new(before)).map_err(|error| format!("float: {error}"))?;
    let mut after = Session::open(library, &SessionSpec::new(after)).map_err(|error| format!("half: {error}"))?;
    if before.inputs() != after.inputs() || before.outputs() != after.outputs() {
        return Err("inputs or outputs changed".to_owned());
    }
    let specs: Vec<InputSpec> = before
        .inputs()
        .iter()
        .map(|input| InputSpec {
            name: input.name.clone(),
            element_type: input.element_type.expect("the models here take tensors"),
            shape: bound(&input.shape, size),
            role: None,
        })
        .collect();
    let inputs = make(&specs, InputOptions::default()).map_err(|error| error.to_string())?;
    let expected = before.run(&inputs).map_err(|error| format!("float: {error}"))?;
    let found = after.run(&inputs).map_err(|error| format!("half: {error}"))?;
    let comparison = compare(&expected, &found, Exactness::Half);
    let problems: Vec<String> = comparison
        .outputs
        .iter()
        .filter(|output| output.problem.is_some())
        .map(|output| format!("{}: {}", output.name, output.problem.clone().unwrap_or_default()))
        .collect();
    if comparison.agrees { Ok(()) } else { Err(problems.join("; ")) }
}

/// One row, and everything else that is open as large as `size`.
fn bound(shape: &[Option<u64>], size: usize) -> Vec<i64> {
    let open = |axis| if axis == 0 { 1 } else { size as u64 };
    shape.iter().enumerate().map(|(axis, dim)| dim.unwrap_or(open(axis)) as i64).collect()
}

#[test]
fn every_trap_loads_and_gives_the_same_answers() {
    let Some(library) = library() else { return };
    let mut failures = Vec::new();
    let mut n_models = 0;
    for entry in include_str!("half/models.txt").split("// ").filter(|entry| !entry.trim().is_empty()) {
        let (name, model) = entry.split_once('\n').expect("a name is followed by its model");
        let proto = text::parse(model).unwrap_or_else(|error| panic!("{name}: {error}"));
        n_models += 1;
        if let Err(difference) = differs(library, &proto, &WeightStore::new(""), 3) {
            failures.push(format!("{name}: {difference}"));
        }
    }
    assert!(failures.is_empty(), "{} of {n_models}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn small_real_architectures_give_the_same_answers() {
    let Some(library) = library() else { return };
    let names = ["bilstm_tagger", "light_squeezenet", "mobilenetv3_large", "shufflenet_v2", "swin_t_dynamo"];
    let mut failures = Vec::new();
    for path in zoo("graphs") {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if names.contains(&name.as_str()) {
            let file = ModelFile::open(&path).expect("the zoo opens");
            if let Err(difference) = differs(library, &file.proto, file.weights(), size_of(&name)) {
                failures.push(format!("{name}: {difference}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Pixels, or ids.
fn size_of(name: &str) -> usize {
    if name == "bilstm_tagger" { 8 } else { 224 }
}

fn convert(path: &Path, target: HalfType) -> Option<HalfOutcome> {
    let file = ModelFile::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let model = Model::from_proto(&file.proto).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match to_half(&model, file.weights(), &HalfOptions::new(target)) {
        Ok(outcome) => Some(outcome),
        Err(error) => {
            assert!(target == HalfType::Bfloat16, "{}: {error}", path.display());
            None
        }
    }
}

#[test]
fn every_real_architecture_converts_to_bfloat16_or_says_that_its_opset_cannot() {
    let n_converted = zoo("graphs").iter().filter_map(|path| convert(path, HalfType::Bfloat16)).count();
    eprintln!("{n_converted} converted to bfloat16");
}

#[test]
fn every_real_architecture_converts_without_its_weights() {
    let mut too_large = BTreeMap::new();
    for path in zoo("graphs").into_iter().chain(zoo("optimized")) {
        let outcome = convert(&path, HalfType::Float16).expect("float16 is in every operator set of the zoo");
        // What was written is a model again.
        let back =
            Model::from_proto(&outcome.model.to_proto()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(back.graph.n_nodes(), outcome.model.graph.n_nodes());
        let report = &outcome.report;
        let is_quantized = report.islands.iter().any(|island| island.reason == Reason::Quantized);
        // The graphs that the runtime optimized for its CPU keep weights in layouts of its own.
        let is_for_cpu = report.islands.iter().any(|island| island.reason == Reason::UnknownOperator);
        let is_trifle = report.before_bytes.get() < 1 << 16;
        let ratio = report.after_bytes.get() as f64 / report.before_bytes.get().max(1) as f64;
        if ratio > 0.55 && !is_quantized && !is_for_cpu && !is_trifle {
            too_large.insert(path.display().to_string(), ratio);
        }
    }
    assert!(too_large.is_empty(), "{too_large:#?}");
}
