//! `onnxfit deploy`: what it writes is what Triton, Kubernetes and SageMaker take, and fits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::{Expect, expect};

fn onnxfit(arguments: &[&str], folder: &Path) -> Output {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let arguments = arguments.iter().map(|argument| match argument.strip_prefix("examples/") {
        Some(rest) => model.join(rest).into_os_string(),
        None => argument.into(),
    });
    Command::new(env!("CARGO_BIN_EXE_onnxfit"))
        .arg("deploy")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn deployed(arguments: &[&str], folder: &Path) -> String {
    let output = onnxfit(arguments, folder);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What the system's own schema says to it, exit code 1 for no; nothing where it is not installed.
fn held_against_schema(system: &str, path: &Path) -> Option<Output> {
    let Some(python) = std::env::var_os("ONNXFIT_PYTHON").map(PathBuf::from) else {
        eprintln!("skipped: ONNXFIT_PYTHON names no Python");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/validate_deploy.py");
    let output = Command::new(python).arg(script).arg(system).arg(path).output().expect("Python starts");
    if output.status.code() == Some(3) {
        eprintln!("skipped: {}", text(&output.stdout));
        return None;
    }
    Some(output)
}

/// What the system's own schema reads back; nothing where it is not installed.
fn read_back(system: &str, path: &Path) -> Option<String> {
    let output = held_against_schema(system, path)?;
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout))
}

/// A slip in what was written is one that the schema sees.
fn check_refused(system: &str, path: &Path, file: &Path, slips: &[(&str, &str)]) {
    let right = std::fs::read_to_string(file).expect("it was written");
    for (from, to) in slips {
        assert!(right.contains(from), "{from} is not in it:\n{right}");
        std::fs::write(file, right.replacen(from, to, 1)).expect("it can be written");
        if let Some(output) = held_against_schema(system, path) {
            assert_eq!(output.status.code(), Some(1), "{from} -> {to}: {}", text(&output.stdout));
        }
    }
}

fn check_read_back(system: &str, path: &Path, expected: Expect) {
    if let Some(read) = read_back(system, path) {
        expected.assert_eq(&read);
    }
}

const LSTM: &[&str] = &["examples/lstm_lm/model.onnx", "--dim", "seq=128"];

#[test]
fn triton_takes_the_model_with_as_many_rows_as_two_sessions_on_a_t4_hold() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments =
        [LSTM, &["--dim", "batch=2048", "--on", "T4", "--instances", "2", "--random-weights", "0"]].concat();
    let said = deployed(&[&arguments[..], &["--triton", "models"]].concat(), folder.path());
    assert!(said.contains("(2048 do not fit)"), "{said}");
    let model = folder.path().join("models/lstm_lm");
    let again = onnxfit(&[&["examples/resnet50/model.onnx"], &arguments[1..]].concat(), folder.path());
    assert_eq!(again.status.code(), Some(2), "a dimension that is not there is a slip");
    check_read_back(
        "triton",
        &model.join("config.pbtxt"),
        expect![[r#"
        lstm_lm onnxruntime 293
          input ids TYPE_INT64 [-1]
          output output TYPE_FP32 [-1, 20000]
          instances 2 KIND_GPU []
          prefers [147, 293]
          arena_extend_strategy = 1
          gpu_mem_limit = 7528251392
    "#]],
    );
    let written = std::fs::read(model.join("1/model.onnx")).expect("the model");
    assert!(written.len() > 1000 && model.join("1/model.onnx.data").exists());
}

#[test]
fn a_folder_that_holds_a_model_already_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = folder.path().join("models/lstm_lm");
    std::fs::create_dir_all(&taken).expect("a folder");
    std::fs::write(taken.join("mine"), "mine").expect("a file");
    let arguments =
        ["examples/lstm_lm/model.onnx", "--dim", "seq=64", "--on", "T4", "--random-weights", "0", "--triton"];
    let output = onnxfit(&[&arguments[..], &["models"]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the folder is not empty"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(folder.path().join("models")).expect("a folder").count(), 1, "and no part is left");
}

#[test]
fn weights_that_are_not_there_are_no_model_for_a_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = onnxfit(&[LSTM, &["--on", "T4", "--triton", "models"]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no server could run the model"), "{}", text(&output.stderr));
}

#[test]
fn kubernetes_takes_the_manifest_for_an_instance_type_and_for_a_gpu() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pods = ["--image", "registry.example/triton:1", "--models", "claim", "--kubernetes", "pods.yaml"];
    let manifest = folder.path().join("pods.yaml");
    deployed(&[LSTM, &["--on", "g4dn.xlarge"], &pods[..]].concat(), folder.path());
    check_read_back(
        "kubernetes",
        &manifest,
        expect![[r#"
        Deployment lstm-lm
          node {"node.kubernetes.io/instance-type": "g4dn.xlarge"}
          limits {"memory": "2337Mi", "nvidia.com/gpu": "1"}
        Service lstm-lm
        HorizontalPodAutoscaler lstm-lm
    "#]],
    );
    deployed(&[LSTM, &["--on", "A10G"], &pods[..]].concat(), folder.path());
    check_read_back(
        "kubernetes",
        &manifest,
        expect![[r#"
        Deployment lstm-lm
          node {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g5.xlarge", "g5.2xlarge", "g5.4xlarge", "g5.8xlarge", "g5.12xlarge", "g5.16xlarge", "g5.24xlarge", "g5.48xlarge"]}]}]}}}
          limits {"memory": "2337Mi", "nvidia.com/gpu": "1"}
        Service lstm-lm
        HorizontalPodAutoscaler lstm-lm
    "#]],
    );
    let slips = [("containers:", "container:"), ("replicas: 1", "replicas: one"), ("selector:", "selects:")];
    check_refused("kubernetes", &manifest, &manifest, &slips);
    let output = onnxfit(&[LSTM, &["--on", "14GiB"], &pods[..]].concat(), folder.path());
    assert!(text(&output.stderr).contains("does not say on which machines"), "{}", text(&output.stderr));
}

#[test]
fn sagemaker_takes_the_requests() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let endpoint = [
        "--image",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/triton:1",
        "--model-data",
        "s3://bucket/model.tar.gz",
        "--role",
        "arn:aws:iam::123456789012:role/endpoint",
        "--sagemaker",
        "requests",
    ];
    deployed(&[LSTM, &["--on", "ml.g4dn.xlarge"], &endpoint[..]].concat(), folder.path());
    check_read_back(
        "sagemaker",
        &folder.path().join("requests"),
        expect![[r#"
        CreateModel is valid
        CreateEndpointConfig is valid
        CreateEndpoint is valid
    "#]],
    );
    let request = std::fs::read_to_string(folder.path().join("requests/create-endpoint-config.json")).expect("written");
    assert!(request.contains("\"InstanceType\": \"ml.g4dn.xlarge\""), "{request}");
    let slips = [
        ("ml.g4dn.xlarge", "ml.g4dn.small"),
        ("ProductionVariants", "Variants"),
        ("\"InitialInstanceCount\": 1", "\"InitialInstanceCount\": \"1\""),
    ];
    let requests = folder.path().join("requests");
    check_refused("sagemaker", &requests, &requests.join("create-endpoint-config.json"), &slips);
    let output = onnxfit(&[LSTM, &["--on", "g3.4xlarge"], &endpoint[..]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_does_not_fit_with_a_single_row_is_not_written_and_the_plan_of_fix_is_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = [LSTM, &["--on", "600MiB", "--random-weights", "0", "--triton", "models"]].concat();
    let output = onnxfit(&arguments, folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("1 session of lstm_lm does") && said.contains("onnxfit fix"), "{said}");
    assert!(!folder.path().join("models").exists());
}
