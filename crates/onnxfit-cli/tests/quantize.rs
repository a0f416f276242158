//! `onnxfit quantize` as its user sees it: files, answers, refusals. Runs are skipped where no ONNX
//! Runtime is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onnxfit::runtime::locate::{Places, find};
use onnxfit::runtime::{Tensor, npz};
use onnxfit_onnx::{RandomWeights, SaveOptions, WeightStore, save, text};
use serde_json::Value;

const NET: &str = "<ir_version: 8, opset_import: [\"\": 17]>
    g (float[n,3,12,12] x) => (float[n,6] y)
    <float[16,3,3,3] w1, float[16] b1, float[16,16,3,3] w2, float[16] b2, float[16,6] w3> {
        c1 = Conv<pads = [1,1,1,1]>(x, w1, b1)
        r1 = Relu(c1)
        c2 = Conv(r1, w2, b2)
        r2 = Relu(c2)
        p = GlobalAveragePool(r2)
        f = Flatten(p)
        y = MatMul(f, w3)
    }";

fn has_runtime() -> bool {
    let found = find(&Places::of_this_process()).library().is_some();
    if !found {
        eprintln!("skipped: no ONNX Runtime was found");
    }
    found
}

fn model(folder: &Path) -> PathBuf {
    let path = folder.join("model.onnx");
    let proto = text::parse(NET).expect("the text is a model");
    let absent = WeightStore::new("");
    let weights = RandomWeights::new(&absent, 1, Default::default());
    save(&proto, &path, &SaveOptions::new(&weights)).expect("it is written");
    path
}

fn image(seed: usize) -> Tensor {
    let numbers: Vec<f32> =
        (0..3 * 12 * 12).map(|at| ((at * 7919 + seed * 104_729) % 512) as f32 / 256.0 - 1.0).collect();
    Tensor::from_f32(vec![1, 3, 12, 12], &numbers).expect("it fills the shape")
}

fn data(folder: &Path, n_samples: usize) -> PathBuf {
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("it is made");
    for index in 0..n_samples {
        let sample = [("x".to_owned(), image(index))].into_iter().collect();
        npz::write(&data.join(format!("{index}.npz")), &sample).expect("it is written");
    }
    data
}

fn quantize(model: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
    command.arg("quantize").arg(model).arg(output).arg("--json").args(more);
    command.output().expect("the command starts")
}

fn answer(output: &Output) -> Value {
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the answer is JSON")
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_model_is_measured_quantized_compared_and_written() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (model, output) = (model(folder.path()), folder.path().join("small.onnx"));
    let (data, page) = (data(folder.path(), 5), folder.path().join("page.html"));
    let done = quantize(&model, &output, &["--static", "--calib", &text_of(&data), "--html", &text_of(&page)]);
    let view = answer(&done);
    assert_eq!((done.status.code(), &view["schema"]), (Some(0), &"onnxfit.quantize/1".into()));
    assert_eq!((&view["quantized"], &view["verify"]["agrees"]), (&true.into(), &true.into()));
    assert_eq!(view["calibration"]["n_samples"], 5);
    assert!(view["ratio"].as_f64().is_some_and(|ratio| ratio < 0.6), "{view:#}");
    let kernels = view["kernels"].as_array().expect("kernels are listed");
    assert!(kernels.iter().any(|kernel| kernel["kernel"] == "QLinearConv" && kernel["n_nodes"] == 2), "{view:#}");
    assert_eq!(view["layers"].as_array().map(Vec::len), Some(3));
    assert!(view["layers"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(std::fs::read_to_string(&page).expect("the page is there").contains("onnxfit"));
    assert_eq!(std::fs::metadata(&output).map(|file| file.len()).ok(), view["after_bytes"].as_u64());
    // Model and its weights, data, page and the result: nothing else is left.
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 5);
}

#[test]
fn dynamic_needs_no_data_and_says_where_its_kernels_run() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (model, output) = (model(folder.path()), folder.path().join("small.onnx"));
    let done = quantize(&model, &output, &["--dynamic", "--dim", "n=2", "--on", "g4dn.xlarge"]);
    let view = answer(&done);
    assert_eq!(done.status.code(), Some(0), "{view:#}");
    let findings = view["diagnostics"].as_array().expect("findings are listed");
    let kernels = findings.iter().find(|finding| finding["id"] == "cpu-kernels").expect("it is said");
    assert!(kernels["hint"].as_str().is_some_and(|hint| hint.contains("--weights")), "{kernels:#}");
}

#[test]
fn a_gate_that_cannot_hold_leaves_no_file_and_steps_back_show_the_curve() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (model, output, data) = (model(folder.path()), folder.path().join("small.onnx"), data(folder.path(), 2));
    let data = text_of(&data);
    let strict = quantize(&model, &output, &["--static", "--calib", &data, "--max-drop", "relative-l2=0.0001"]);
    let view = answer(&strict);
    // Nothing but float holds so narrow a gate; then every layer stepped back.
    assert!(view["curve"].as_array().is_some_and(|curve| curve.len() > 1), "{view:#}");
    assert!(view["layers"].as_array().expect("layers").iter().all(|layer| layer["level"] == "fp32"), "{view:#}");
    let command = "printf 0 #";
    let more = ["--static", "--calib", &data, "--max-drop", "command=0.5", "--metric-command", command];
    assert_eq!(quantize(&model, &output, &more).status.code(), Some(0));
    let more = ["--static", "--calib", &data, "--max-drop", "command=0.5", "--metric-command", "false"];
    let failed = quantize(&model, &output, &more);
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("the command `false` failed"));
}

#[test]
fn ranges_that_were_kept_are_gone_on_from() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (model, data) = (model(folder.path()), data(folder.path(), 3));
    let kept = text_of(&folder.path().join("ranges"));
    let more = ["--static", "--calib", &text_of(&data), "--ranges", "entropy", "--keep-ranges", &kept];
    let first = quantize(&model, &folder.path().join("a.onnx"), &more);
    let again = quantize(&model, &folder.path().join("b.onnx"), &more);
    assert_eq!(answer(&first)["calibration"], answer(&again)["calibration"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("going on with the ranges kept"));
    let other = ["--static", "--calib", &text_of(&data), "--ranges", "mse", "--keep-ranges", &kept];
    let refused = quantize(&model, &folder.path().join("c.onnx"), &other);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another model, other samples or another method"));
}

#[test]
fn calibration_data_that_do_not_fit_are_refused_and_the_output_stays() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (model, output) = (model(folder.path()), folder.path().join("small.onnx"));
    std::fs::write(&output, "as it was").expect("it is written");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("it is made");
    let refused = |sentence: &str| {
        let answer = quantize(&model, &output, &["--static", "--calib", &text_of(&data)]);
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
        assert_eq!(std::fs::read_to_string(&output).expect("it is there"), "as it was");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 4);
    };
    let write = |name: &str, tensor: Tensor| {
        let sample = [(name.to_owned(), tensor)].into_iter().collect();
        npz::write(&data.join("1.npz"), &sample).expect("it is written");
    };
    refused("holds neither .npz files nor arrays nor images");
    npz::write(&data.join("0.npz"), &[("x".to_owned(), image(0))].into_iter().collect()).expect("it is written");
    write("x", Tensor::from_f32(vec![1, 3, 12], &[0.5; 36]).expect("36 numbers"));
    refused("1.npz`: array `x` has the shape [1, 3, 12], the model takes 4 axes");
    write("x", Tensor::from_f32(vec![1, 1, 12, 12], &[0.5; 144]).expect("144 numbers"));
    refused("axis 1 must be 3");
    write("x", Tensor::from_i64(vec![1, 3, 12, 12], &[1; 432]).expect("432 numbers"));
    refused("array `x` is int64, the model takes float");
    let mut numbers = vec![0.5; 432];
    numbers[7] = f32::NAN;
    write("x", Tensor::from_f32(vec![1, 3, 12, 12], &numbers).expect("432 numbers"));
    refused("array `x` has 1 NaN or infinite numbers");
    write("pixels", image(1));
    refused("there is no array `x`");
    let whole = std::fs::read(data.join("0.npz")).expect("it is there");
    std::fs::write(data.join("1.npz"), &whole[..whole.len() / 2]).expect("it is written");
    refused("is no .npz file");
}
