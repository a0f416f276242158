//! `onnxfit split`: stages that answer as the whole does, and that Triton takes as an ensemble.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::expect;
use onnxfit::runtime::locate::{Places, find};

fn onnxfit(arguments: &[&str], folder: &Path) -> Output {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/mobilenetv3_large/model.onnx");
    let sizes = ["--dim", "batch=2", "--dim", "height=64", "--dim", "width=64", "--offline"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
    command.arg("split").arg(model).args(sizes).args(arguments).current_dir(folder).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn three_stages_answer_as_the_whole_and_are_an_ensemble() {
    if find(&Places::of_this_process()).library().is_none() {
        eprintln!("skipped: no ONNX Runtime was found");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["--stages", "3", "--on", "g4dn.12xlarge", "--random-weights", "0", "-o", "out", "--json"];
    let output = onnxfit(&arguments, folder.path());
    assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["verify"]["agrees"], true, "{answer}");
    assert_eq!(answer["stages"].as_array().map(Vec::len), Some(3));

    let Some(python) = std::env::var_os("ONNXFIT_PYTHON").map(PathBuf::from) else {
        eprintln!("skipped: ONNXFIT_PYTHON names no Python");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/validate_deploy.py");
    let mut read = Command::new(python);
    read.arg(script).arg("triton").arg("out/mobilenetv3_large/config.pbtxt");
    read.args((1..=3).map(|stage| format!("out/mobilenetv3_large_stage{stage}/config.pbtxt")));
    let output = read.current_dir(folder.path()).output().expect("Python starts");
    if output.status.code() == Some(3) {
        eprintln!("skipped: {}", text(&output.stdout));
        return;
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    expect![[r#"
        mobilenetv3_large ensemble 0
          input input TYPE_FP32 [-1, 3, -1, -1]
          output output TYPE_FP32 [-1, 1000]
          step mobilenetv3_large_stage1 {'input': 'input'} -> {'/Flatten_output_0': '/Flatten_output_0'}
          step mobilenetv3_large_stage2 {'/Flatten_output_0': '/Flatten_output_0'} -> {'/classifier/classifier.0/Gemm_output_0': '/classifier/classifier.0/Gemm_output_0'}
          step mobilenetv3_large_stage3 {'/classifier/classifier.0/Gemm_output_0': '/classifier/classifier.0/Gemm_output_0'} -> {'output': 'output'}
        mobilenetv3_large_stage1 onnxruntime 0
          input input TYPE_FP32 [-1, 3, -1, -1]
          output /Flatten_output_0 TYPE_FP32 [-1, 960]
          instances 1 KIND_GPU [0]
        mobilenetv3_large_stage2 onnxruntime 0
          input /Flatten_output_0 TYPE_FP32 [-1, 960]
          output /classifier/classifier.0/Gemm_output_0 TYPE_FP32 [-1, 1280]
          instances 1 KIND_GPU [1]
        mobilenetv3_large_stage3 onnxruntime 0
          input /classifier/classifier.0/Gemm_output_0 TYPE_FP32 [-1, 1280]
          output output TYPE_FP32 [-1, 1000]
          instances 1 KIND_GPU [2]
    "#]].assert_eq(&text(&output.stdout));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = onnxfit(&["--on", "430MiB", "--random-weights", "0", "-o", "out"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("does not fit") && !folder.path().join("out").exists());
}
