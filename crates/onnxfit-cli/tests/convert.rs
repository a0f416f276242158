//! `onnxfit convert` as its user sees it: files, answers, refusals. Skipped where no ONNX Runtime is
//! found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onnxfit::runtime::locate::{Places, find};
use onnxfit::runtime::{Tensor, npz};
use serde_json::Value;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("model.onnx")
}

fn convert(model: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
    command.arg("convert").arg(model).arg(output).args(["--random-weights", "1", "--json"]).args(more);
    command.output().expect("the command starts")
}

fn n_entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("the folder is there").count()
}

#[test]
fn a_language_model_is_measured_verified_and_half_as_large() {
    if find(&Places::of_this_process()).library().is_none() {
        eprintln!("skipped: no ONNX Runtime was found");
        return;
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let output = folder.path().join("half.onnx");
    let answer = convert(&example("lstm_lm"), &output, &["--fp16", "--dim", "batch=1", "--dim", "seq=8"]);
    assert_eq!(answer.status.code(), Some(0), "{}", String::from_utf8_lossy(&answer.stderr));
    let view: Value = serde_json::from_slice(&answer.stdout).expect("the answer is JSON");
    assert_eq!(view["schema"], "onnxfit.convert/1");
    assert_eq!((&view["converted"], &view["verify"]["agrees"]), (&true.into(), &true.into()));
    assert!(view["n_measured"].as_u64().is_some_and(|n_measured| n_measured > 3), "{view:#}");
    let written: u64 = view["files"]
        .as_array()
        .expect("files are listed")
        .iter()
        .map(|file| std::fs::metadata(folder.path().join(file.as_str().expect("a name"))).expect("it is there").len())
        .sum();
    assert_eq!(Some(written), view["after_bytes"].as_u64());
    // Nothing but the files that were named is left.
    assert_eq!(n_entries(folder.path()), view["files"].as_array().map_or(0, Vec::len));
}

#[test]
fn calibration_data_that_do_not_fit_are_refused_and_the_output_stays() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let output = folder.path().join("half.onnx");
    std::fs::write(&output, "as it was").expect("it is written");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("it is made");
    let refused = |sentence: &str| {
        let data = data.to_string_lossy().into_owned();
        let answer = convert(&example("lstm_lm"), &output, &["--fp16", "--calib", &data]);
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
        assert_eq!(std::fs::read_to_string(&output).expect("it is there"), "as it was");
        assert_eq!(n_entries(folder.path()), 2);
    };
    refused("holds neither .npz files nor arrays nor images");
    let wrong = Tensor::from_f32(vec![1, 3], &[0.0, 1.0, f32::NAN]).expect("three numbers");
    npz::write(&data.join("0.npz"), &[("nothing".to_owned(), wrong)].into_iter().collect()).expect("it is written");
    refused("there is no array");
    std::fs::write(data.join("0.npz"), "PK, but no archive").expect("it is written");
    refused("is no .npz file");
}
