//! `onnxfit prune` as its users see it, on a small network for images with a residual and a head.
//! Skipped where no ONNX Runtime is found.

use std::path::PathBuf;
use std::process::{Command, Output};

use onnxfit::runtime::locate::{Places, find};
use onnxfit::runtime::{Tensor, Tensors, npz};
use serde_json::Value;

const CNN: &str = "<ir_version: 8, opset_import: [\"\" : 18]> g (float[N,1,8,8] x) => (float[N,10] logits)
    <float[32,1,3,3] w1, float[32] b1, float[32,32,3,3] w2, float[32] b2, float[32,32,3,3] w3, float[32] b3,
     float[64,32,3,3] w4, float[64] b4, float[64,10] w5, float[10] b5> {
    a1 = Conv<pads = [1,1,1,1]>(x, w1, b1) r1 = Relu(a1)
    a2 = Conv<pads = [1,1,1,1], strides = [2,2]>(r1, w2, b2) r2 = Relu(a2)
    a3 = Conv<pads = [1,1,1,1]>(r2, w3, b3) s3 = Add(a3, r2) r3 = Relu(s3)
    a4 = Conv<pads = [1,1,1,1], strides = [2,2]>(r3, w4, b4) r4 = Relu(a4)
    p = GlobalAveragePool(r4) f = Flatten(p) logits = Gemm(f, w5, b5) }";

/// A folder with `model.onnx`, and `data`, a folder of inputs.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// `None` without a runtime.
    fn new() -> Option<Self> {
        Self::of(CNN)
    }

    fn of(model: &str) -> Option<Self> {
        if find(&Places::of_this_process()).library().is_none() {
            eprintln!("skipped: no ONNX Runtime was found");
            return None;
        }
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let proto = onnxfit_onnx::text::parse(model).expect("a model");
        let store = onnxfit_onnx::WeightStore::new(folder.path());
        let weights = onnxfit_onnx::RandomWeights::new(&store, 3, Default::default());
        let options = onnxfit_onnx::SaveOptions::new(&weights);
        onnxfit_onnx::save(&proto, &folder.path().join("model.onnx"), &options).expect("it saves");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        for file in 0..4u64 {
            let one = |index: u64| (((file * 1024 + index) * 2_654_435_761 % 1_000_003) as f32 / 500_001.5) - 1.0;
            let numbers: Vec<f32> = (0..16 * 64).map(one).collect();
            let mut batch = Tensors::new();
            batch.insert("x", Tensor::from_f32(vec![16, 1, 8, 8], &numbers).expect("numbers"));
            npz::write(&folder.path().join(format!("data/{file}.npz")), &batch).expect("it is written");
        }
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
        command.current_dir(self.folder.path()).args(["prune", "model.onnx"]).args(arguments.split_whitespace());
        command.output().expect("the command starts")
    }

    /// The answer to `--json`; it must be `yes`, and the file must be there and smaller or not.
    fn pruned(&self, arguments: &str) -> Value {
        let output = self.run(&format!("out.onnx --offline --json {arguments}"));
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        let view: Value = serde_json::from_slice(&output.stdout).expect("the answer is JSON");
        assert_eq!((&view["pruned"], &view["reached"]), (&true.into(), &true.into()), "{view:#}");
        assert!(view["proof"].is_null() || view["proof"]["agrees"] == true, "{view:#}");
        view
    }

    /// A model's bytes, those of its data file included.
    fn bytes(&self, name: &str) -> u64 {
        let length = |name: &str| std::fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len());
        length(name) + length(&format!("{name}.data"))
    }
}

fn number(view: &Value, path: &str) -> f64 {
    view.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path} of {view:#}"))
}

#[test]
fn channels_go_by_every_importance_and_the_file_is_smaller() {
    let Some(bench) = Bench::new() else { return };
    let mut kept = Vec::new();
    for importance in ["magnitude", "wanda", "taylor"] {
        let view = bench.pruned(&format!("--sparsity 0.4 --importance {importance} --data data"));
        assert_eq!(view["importance"], importance);
        let (gone, all) = (number(&view, "/n_removed"), number(&view, "/n_atoms"));
        assert!((0.3..0.5).contains(&(gone / all)), "{gone} of {all}");
        assert!(number(&view, "/weights/ratio") < 0.6 && bench.bytes("out.onnx") < bench.bytes("model.onnx") * 3 / 4);
        kept.push(std::fs::read(bench.path("out.onnx")).expect("a model"));
    }
    assert!(kept[0] != kept[1] && kept[1] != kept[2], "what is compared by makes no difference");
}

#[test]
fn weights_or_the_measured_arena_are_at_most_the_share_that_was_asked_for() {
    let Some(bench) = Bench::new() else { return };
    let weights = bench.pruned("--target-memory 0.6 --of weights");
    assert!((0.4..=0.6).contains(&number(&weights, "/weights/ratio")), "{weights:#}");
    let arena = bench.pruned("--target-memory 0.6 --dim N=16 --recover off");
    assert!(number(&arena, "/measured_peak/ratio") <= 0.6, "{arena:#}");
    assert!(number(&arena, "/predicted_peak/ratio") <= 0.6, "{arena:#}");
    assert!(bench.bytes("out.onnx") < bench.bytes("model.onnx"));
}

#[test]
fn weights_inside_nodes_are_cut_too() {
    let ones = vec!["1"; 32].join(", ");
    let nodes = format!("k = Constant<value = float[32,1,1] {{{ones}}}>() a1 = Mul(c1, k)");
    let model = CNN.replace("a1 = Conv", "c1 = Conv").replace("r1 = Relu", &format!("{nodes} r1 = Relu"));
    let Some(bench) = Bench::of(&model) else { return };
    bench.pruned("--target-memory 0.6 --of weights --recover off");
    bench.pruned("--sparsity 0.4 --importance wanda");
}

#[test]
fn zeros_are_made_as_asked_and_are_said_to_save_nothing() {
    let Some(bench) = Bench::new() else { return };
    for arguments in ["--two-four", "--unstructured 0.5"] {
        let view = bench.pruned(arguments);
        let target = view["target"].as_str().expect("a text");
        let numbers: Vec<f64> = target.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(numbers.len() == 2 && (numbers[0] / numbers[1] - 0.5).abs() < 0.02, "{target}");
        let diagnostics = view["diagnostics"].as_array().expect("a list");
        assert!(diagnostics.iter().any(|diagnostic| diagnostic["id"] == "no-memory-gained"), "{view:#}");
        assert!(bench.bytes("out.onnx") >= bench.bytes("model.onnx") * 99 / 100);
    }
}

#[test]
fn what_is_lost_comes_back_from_data() {
    let Some(bench) = Bench::new() else { return };
    let drift = |recover: &str| {
        let view = bench.pruned(&format!("--sparsity 0.5 --data data --recover {recover}"));
        (number(&view, "/drift/outputs/0/relative_l2"), view)
    };
    let (off, _) = drift("off");
    let (refitted, view) = drift("refit");
    assert!(number(&view, "/n_refitted") > 0.0 && refitted < off, "{refitted} and {off} without");
    let (_, view) = drift("distill --epochs 20");
    assert!(number(&view, "/distilled/1") < 0.7 * number(&view, "/distilled/0"), "{view:#}");
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_written() {
    let Some(bench) = Bench::new() else { return };
    let output = bench.run("out.onnx --offline --target-memory 0.001 --of weights");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!bench.path("out.onnx").exists(), "{said}");
    for (arguments, expected) in [
        ("out.onnx --offline --sparsity 1.5", "1.5 is no share of a model"),
        ("out.onnx --offline", "required"),
        ("out.onnx --offline --sparsity 0.5 --two-four", "cannot be used with"),
        ("out.onnx --offline --sparsity 0.5 --data nowhere", "nowhere"),
    ] {
        let output = bench.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{arguments}: {said}");
    }
}
