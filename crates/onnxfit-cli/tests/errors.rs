//! Bad input gets an error that says what, where and how much, and a hint; exit code 2.

use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};

fn said(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_onnxfit"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(arguments)
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "an error is no answer");
    String::from_utf8(output.stderr).expect("messages are text")
}

fn check(arguments: &[&str], expected: Expect) {
    expected.assert_eq(&said(arguments));
}

const RESNET: &str = "examples/resnet50/model.onnx";

#[test]
fn a_file_that_is_not_there() {
    check(
        &["check", "nothere.onnx"],
        expect![[r#"
            error: cannot open `nothere.onnx`: No such file or directory (os error 2)
              hint: check the path; a model exported with external data needs its data file beside it
        "#]],
    );
}

#[test]
fn a_file_that_is_no_model() {
    check(
        &["check", "README.md"],
        expect![[r#"
            error: `README.md` is no ONNX model: wire type 3, which ONNX files do not use at byte 1, in the model
              hint: the file may be cut short by a download or a full disk, or be no ONNX file
        "#]],
    );
}

#[test]
fn an_instance_without_a_gpu() {
    check(
        &["check", RESNET, "--on", "inf1.xlarge"],
        expect![[r#"
            error: `inf1.xlarge` has no NVIDIA GPU: AWS Inferentia is an AWS chip that is programmed through the AWS Neuron SDK, not through CUDA, and onnxruntime-gpu needs CUDA
              hint: use `g4dn.xlarge`: T4, 14.56 GiB for one session, $0.526 an hour on demand in us-east-1 on 2026-07-20
        "#]],
    );
}

#[test]
fn a_dimension_that_is_not_there() {
    check(
        &["fix", RESNET, "--on", "T4", "--dim", "btch=4", "--dry-run"],
        expect![[r#"
            error: no input of the model has a dimension `btch`
              hint: its dimensions are batch, height, width
        "#]],
    );
}

#[test]
fn a_dimension_that_no_machine_holds() {
    check(
        &["check", RESNET, "--dim", "batch=4611686018427387904", "--dim", "height=224", "--dim", "width=224"],
        expect![[r#"
            error: no machine holds these sizes: `input` would have the shape 4611686018427387904x3x224x224
        "#]],
    );
}

#[test]
fn an_input_that_is_not_there() {
    check(
        &["check", RESNET, "--shape", "pixels:1,3,224,224"],
        expect![[r#"
            error: the model has no input `pixels`
              hint: its inputs are input
        "#]],
    );
}

#[test]
fn a_fix_without_a_place_to_fit() {
    check(
        &["fix", RESNET, "--dry-run"],
        expect![[r#"
            error: nothing is said about where the model should fit
              hint: give `--on g4dn.xlarge`, `--on T4` or `--on 14GiB`
        "#]],
    );
}

#[test]
fn a_folder_that_is_full_stays_as_it_was() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("mine.txt");
    std::fs::write(&file, "mine").expect("the file can be written");
    let path = folder.path().to_string_lossy().into_owned();
    let dims = ["--dim", "batch=1", "--dim", "height=32", "--dim", "width=32"];
    let mut arguments = vec!["fix", RESNET, "--on", "T4", "--no-verify", "-o", &path];
    arguments.extend(dims);
    let text = said(&arguments).replace(&path, "DIR");
    expect![[r#"
        error: cannot write into `DIR`: the folder is not empty
    "#]]
    .assert_eq(&text);
    let entries: Vec<_> = std::fs::read_dir(folder.path()).expect("it is still there").collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(std::fs::read_to_string(file).expect("it is still there"), "mine");
}
