//! Proof by a real out-of-memory: capped at a limit, the original really fails at the node and with
//! the bytes that `check` predicts, and the fitted folder really runs and gives the same answers.
//!
//! The arena of ONNX Runtime's CPU provider is the one that the CUDA provider uses too, so no GPU
//! is needed for this. Skipped where no ONNX Runtime is found.

#![allow(clippy::print_stdout)] // What was proved is worth reading.

use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit::Bytes;
use onnxfit::runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit::runtime::locate::{Places, find};
use onnxfit::runtime::verify::{Exactness, compare};
use onnxfit::runtime::worker::Client;
use onnxfit::runtime::{ArenaConfig, ElementType, OptimizationLevel, RunError, SessionSpec, Tensors, npz};
use serde_json::Value;

/// One architecture of `examples/`, and the sizes that it is asked for.
struct Case {
    name: &'static str,
    dims: &'static [(&'static str, i64)],
    inputs: &'static [(&'static str, ElementType, &'static [i64])],
    /// Where the limit is put: this share of the way from the loaded weights to the peak.
    share: f64,
}

const ONNXFIT: &str = env!("CARGO_BIN_EXE_onnxfit");

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("model.onnx")
}

fn onnxfit(arguments: &[&str]) -> (Value, i32) {
    let output = Command::new(ONNXFIT).args(arguments).output().expect("the command starts");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("no JSON from {arguments:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr))
    });
    (json, output.status.code().expect("the command ends by itself"))
}

fn bytes(json: &Value, path: &str) -> u64 {
    json.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no bytes at {path} in {json:#}"))
}

fn text<'a>(json: &'a Value, path: &str) -> &'a str {
    json.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path} in {json:#}"))
}

fn prove(case: &Case) {
    let Some(library) = find(&Places::of_this_process()).library().map(Path::to_owned) else {
        eprintln!("skipped: no ONNX Runtime was found");
        return;
    };
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let base = folder.path().join("base");
    let dims: Vec<String> = case.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let session = ["--provider", "cpu", "--opt-level", "disable", "--threads", "2", "--json"];
    let common: Vec<&str> = dims.iter().flat_map(|dim| ["--dim", dim.as_str()]).chain(session).collect();
    let run = |verb: &str, model: &Path, more: &[&str]| {
        let model = model.to_string_lossy().into_owned();
        let mut arguments = vec![verb, &model];
        arguments.extend(&common);
        arguments.extend(more);
        onnxfit(&arguments)
    };

    // The example with weights, so that it can run.
    let base_text = base.to_string_lossy().into_owned();
    let with_weights = ["--on", "100GiB", "--random-weights", "7", "--no-verify", "-o", &base_text];
    let (whole, code) = run("fix", &example(case.name), &with_weights);
    assert_eq!(code, 0, "{whole:#}");
    let model = base.join("model.onnx");
    let (free, _) = run("check", &model, &[]);
    let load = bytes(&free, "/arena/load/total_bytes");
    let peak = bytes(&free, "/arena/runs/0/peak_in_use_bytes");
    let limit = load + ((peak - load) as f64 * case.share) as u64;
    let limit_text = limit.to_string();

    // Predicted.
    let (capped, code) = run("check", &model, &["--arena-limit", &limit_text]);
    assert_eq!((text(&capped, "/verdict"), code), ("does_not_fit", 1), "{capped:#}");

    // Really.
    let specs: Vec<InputSpec> = case
        .inputs
        .iter()
        .map(|(name, element_type, shape)| InputSpec {
            name: (*name).to_owned(),
            element_type: *element_type,
            shape: shape.to_vec(),
            role: None,
        })
        .collect();
    let inputs = make(&specs, InputOptions::default()).expect("inputs can be made up");
    let spec = SessionSpec {
        optimization: OptimizationLevel::Disable,
        intra_op_threads: Some(2),
        cpu_arena: Some(ArenaConfig { limit: Some(Bytes(limit)), ..ArenaConfig::default() }),
        ..SessionSpec::new(&model)
    };
    let failed = run_really(&library, &spec, &inputs).expect_err("the original does not fit");
    let RunError::OutOfMemory(real) = failed else { panic!("{}: another failure: {failed}", case.name) };
    assert_eq!(real.node.as_deref(), Some(text(&capped, "/failure/node")), "{}", case.name);
    assert_eq!(real.op_type.as_deref(), Some(text(&capped, "/failure/op_type")), "{}", case.name);
    assert_eq!(real.requested, Some(Bytes(bytes(&capped, "/failure/requested_bytes"))), "{}", case.name);
    assert_eq!(real.available, Some(Bytes(bytes(&capped, "/failure/available_bytes"))), "{}", case.name);

    // Fitted: `fix` itself runs the result under the limit, and compares.
    let fitted = folder.path().join("fitted");
    let fitted_text = fitted.to_string_lossy().into_owned();
    let (plan, code) = run("fix", &model, &["--arena-limit", &limit_text, "-o", &fitted_text]);
    assert_eq!(code, 0, "{}: {plan:#}", case.name);
    assert_eq!(plan.pointer("/verify/agrees"), Some(&Value::Bool(true)), "{}", case.name);

    run_program(case, &library, &fitted, &inputs, &SessionSpec { cpu_arena: None, ..spec });
    println!(
        "{}: fails at `{}` asking {} under {limit}; fitted: {}",
        case.name,
        text(&capped, "/failure/node"),
        bytes(&capped, "/failure/requested_bytes"),
        plan.pointer("/chosen/changes").map(Value::to_string).unwrap_or_default(),
    );
}

/// Three runs in a process of its own; a memory pattern fails in the second at the earliest.
fn run_really(library: &Path, spec: &SessionSpec, inputs: &Tensors) -> Result<Tensors, RunError> {
    let mut client = Client::spawn(Path::new(ONNXFIT), &["__worker"])?;
    client.open(library, spec)?;
    client.run(inputs)?;
    client.run(inputs)?;
    Ok(client.run(inputs)?.outputs)
}

/// `run.py` of the fitted folder gives the uncapped original's answers.
fn run_program(case: &Case, library: &Path, fitted: &Path, inputs: &Tensors, uncapped: &SessionSpec) {
    let python = std::env::var_os("VIRTUAL_ENV").map(|venv| Path::new(&venv).join("bin/python"));
    let Some(python) = python.filter(|python| python.exists()) else {
        eprintln!("{}: run.py not run: no virtual environment with onnxruntime", case.name);
        return;
    };
    let (feeds, answers) = (fitted.join("feeds.npz"), fitted.join("answers.npz"));
    npz::write(&feeds, inputs).expect("the inputs can be written");
    let output =
        Command::new(python).arg(fitted.join("run.py")).args([&feeds, &answers]).output().expect("python starts");
    assert!(output.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    let answers = npz::read(&answers).expect("run.py wrote its answers");
    let expected = run_really(library, uncapped, inputs).expect("the original runs without a limit");
    let comparison = compare(&expected, &answers, Exactness::Exact);
    assert!(comparison.agrees, "{}: {comparison:#?}", case.name);
}

#[test]
fn a_residual_network() {
    prove(&Case {
        name: "resnet50",
        dims: &[("batch", 8), ("height", 128), ("width", 128)],
        inputs: &[("input", ElementType::Float, &[8, 3, 128, 128])],
        share: 0.6,
    });
}

#[test]
fn a_mobile_network() {
    prove(&Case {
        name: "mobilenetv3_large",
        dims: &[("batch", 8), ("height", 128), ("width", 128)],
        inputs: &[("input", ElementType::Float, &[8, 3, 128, 128])],
        share: 0.7,
    });
}

#[test]
fn a_segmentation_network() {
    prove(&Case {
        name: "deeplabv3_resnet50",
        dims: &[("batch", 6), ("height", 192), ("width", 192)],
        inputs: &[("input", ElementType::Float, &[6, 3, 192, 192])],
        share: 0.6,
    });
}

#[test]
fn an_encoder_with_masked_attention() {
    prove(&Case {
        name: "distilbert_base_cls",
        dims: &[("batch_size", 8), ("sequence_length", 128)],
        inputs: &[("input_ids", ElementType::Int64, &[8, 128]), ("attention_mask", ElementType::Int64, &[8, 128])],
        share: 0.6,
    });
}

#[test]
fn an_encoder_with_relative_positions() {
    prove(&Case {
        name: "t5_small_encoder",
        dims: &[("batch_size", 8), ("encoder_sequence_length", 128)],
        inputs: &[("input_ids", ElementType::Int64, &[8, 128]), ("attention_mask", ElementType::Int64, &[8, 128])],
        share: 0.6,
    });
}

#[test]
fn a_recurrent_language_model() {
    prove(&Case {
        name: "lstm_lm",
        dims: &[("batch", 16), ("seq", 32)],
        inputs: &[("ids", ElementType::Int64, &[16, 32])],
        share: 0.6,
    });
}
