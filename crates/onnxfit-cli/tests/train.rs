//! `onnxfit train` and `distill` as their users see them, killed and starved. Skipped where no ONNX
//! Runtime is found.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use onnxfit::runtime::locate::{Places, find};
use onnxfit::runtime::{Tensor, Tensors, npz};
use serde_json::Value;

fn has_runtime() -> bool {
    let found = find(&Places::of_this_process()).library().is_some();
    if !found {
        eprintln!("skipped: no ONNX Runtime was found");
    }
    found
}

/// Numbers that look random and are the same everywhere.
fn noise(seed: u64, n: u64) -> Vec<f32> {
    let one = |index: u64| {
        let mut z = (seed << 32).wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z >> 11) as f64 / (1u64 << 53) as f64) * 2.0 - 1.0) as f32
    };
    (0..n).map(one).collect()
}

/// A folder with a model, `model.onnx`, and data, `data.npz`, in which the first numbers of a
/// sample tell its class.
struct Bench {
    folder: tempfile::TempDir,
}

const MLP: &str = "<ir_version: 8, opset_import: [\"\" : 18]> g (float[N,16] x) => (float[N,4] logits)
    <float[16,HID] u, float[HID] b, float[HID,4] v> { a = Gemm(x, u, b) h = Relu(a) logits = MatMul(h, v) }";
const CNN: &str = "<ir_version: 8, opset_import: [\"\" : 18]> g (float[N,1,24,24] x) => (float[N,4] logits)
    <float[8,1,3,3] c1, float[8,8,3,3] c2, float[8,4] v> {
    h1 = Conv<pads = [1,1,1,1]>(x, c1) r1 = Relu(h1) h2 = Conv<pads = [1,1,1,1]>(r1, c2) r2 = Relu(h2)
    p = GlobalAveragePool(r2) f = Flatten(p) logits = MatMul(f, v) }";

impl Bench {
    fn new(model: &str, sample: &[u64], n_samples: u64) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let proto = onnxfit_onnx::text::parse(model).expect("a model");
        let store = onnxfit_onnx::WeightStore::new(folder.path());
        let weights = onnxfit_onnx::RandomWeights::new(&store, 1, Default::default());
        let path = folder.path().join("model.onnx");
        onnxfit_onnx::save(&proto, &path, &onnxfit_onnx::SaveOptions::new(&weights)).expect("it saves");
        let width: u64 = sample.iter().product();
        let numbers = noise(7, n_samples * width);
        let class = |row: &[f32]| i64::from(row[0] > 0.0) * 2 + i64::from(row[1] > 0.0);
        let labels: Vec<i64> = numbers.chunks_exact(width as usize).map(class).collect();
        let mut data = Tensors::new();
        let shape: Vec<u64> = [n_samples].into_iter().chain(sample.iter().copied()).collect();
        data.insert("x", Tensor::from_f32(shape, &numbers).expect("numbers"));
        data.insert("label", Tensor::from_i64(vec![n_samples], &labels).expect("labels"));
        npz::write(&folder.path().join("data.npz"), &data).expect("it is written");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
        command.current_dir(self.folder.path()).args(arguments.split_whitespace());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("the command starts")
    }

    fn view(&self, arguments: &str) -> Value {
        let output = self.run(&format!("{arguments} --json"));
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("the answer is JSON")
    }

    fn refused(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    }

    /// The losses in a log, by step.
    fn curve(&self, log: &str) -> Vec<(u64, f64)> {
        let text = std::fs::read_to_string(self.path(log)).expect("a log");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        lines.filter_map(|line| Some((line.get("step")?.as_u64()?, line.get("loss")?.as_f64()?))).collect()
    }
}

const TRAIN: &str = "train model.onnx --provider cpu --threads 1 --offline --data data.npz";

fn mlp(hidden: u32) -> Bench {
    Bench::new(&MLP.replace("HID", &hidden.to_string()), &[16], 512)
}

#[test]
fn a_model_learns_and_is_an_onnx_model_again() {
    if !has_runtime() {
        return;
    }
    let bench = mlp(32);
    let view = bench.view(&format!("{TRAIN} --epochs 12 --batch 64 --lr 0.01 -o out.onnx --html out.html"));
    let loss = |name: &str| view[name].as_f64().expect("a number");
    assert!(loss("last_loss") < 0.4 * loss("first_loss"), "{view:#}");
    assert_eq!((&view["schema"], &view["n_steps"]), (&"onnxfit.train/1".into(), &96.into()));
    let (before, after) = (bench.path("model.onnx"), bench.path("out.onnx"));
    let open = |path: &Path| onnxfit::Model::open(path).expect("it opens");
    assert_eq!(open(&before).graph().graph.n_nodes(), open(&after).graph().graph.n_nodes());
    // It goes on from where it was: the first loss of another run is near the last of this one.
    let more = bench.view("train out.onnx --provider cpu --offline --data data.npz --batch 64 -o more.onnx");
    assert!(more["first_loss"].as_f64().expect("a number") < 1.5 * loss("last_loss") + 0.05, "{more:#}");
    let page = std::fs::read_to_string(bench.path("out.html")).expect("a page");
    assert!(page.contains("<polyline") && !page.contains("http://") && !page.contains("<script"));
    assert_eq!(bench.curve("out.log.jsonl").len(), 96);
    // A log and checkpoints of another run are not written over.
    assert!(bench.refused(&format!("{TRAIN} -o out.onnx")).contains("--resume"));
}

fn kill(mut child: Child) {
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("it is gone");
}

/// Waits until something is so, or a minute has passed, or the child is done.
fn wait_until(child: &mut Child, mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..60_000 {
        if is_so() {
            return true;
        }
        if child.try_wait().expect("a state").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn a_run_that_is_killed_at_any_moment_goes_on_with_the_same_curve() {
    if !has_runtime() {
        return;
    }
    // Large enough that a checkpoint takes a while: 6 MB with the states.
    let bench = Bench::new(&MLP.replace("HID", "24576"), &[16], 96);
    let arguments = format!("{TRAIN} --epochs 4 --batch 8 --lr 0.001 --micro-batch 3 --checkpoint-every 3 --seed 5");
    let whole = bench.view(&format!("{arguments} -o whole.onnx"));
    assert_eq!(whole["n_steps"], 48);
    let start = || {
        let mut command = bench.command(&format!("{arguments} -o killed.onnx --resume"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let folder = bench.path("killed.checkpoints");
    let count = |extension: &str| {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|other| other == extension)).count()
    };
    let newest = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().ends_with("safetensors")).max()
    };
    // Before the first checkpoint, between two, and in the middle of one.
    let mut child = start();
    assert!(wait_until(&mut child, || bench.path("killed.log.jsonl").exists()));
    kill(child);
    let mut child = start();
    assert!(wait_until(&mut child, || count("safetensors") > 0));
    kill(child);
    let mut n_torn = 0;
    for _ in 0..4 {
        let before = newest();
        let mut child = start();
        wait_until(&mut child, || newest() > before);
        wait_until(&mut child, || count("part") > 0);
        kill(child);
        n_torn += count("part");
    }
    assert!(n_torn > 0, "no kill fell into the middle of a checkpoint");
    let view = bench.view(&format!("{arguments} -o killed.onnx --resume"));
    assert!(view["resumed_from"].as_u64() > Some(0));
    assert_eq!(count("part"), 0);
    // Bit for bit: losses, steps and weights.
    assert_eq!(bench.curve("killed.log.jsonl"), bench.curve("whole.log.jsonl"));
    let bytes = |name: &str| std::fs::read(bench.path(name)).expect("a model");
    assert!(bytes("killed.onnx") == bytes("whole.onnx"), "the weights differ");
}

#[test]
fn a_batch_that_does_not_fit_is_accumulated_at_the_predicted_size_and_one_more_fails() {
    if !has_runtime() {
        return;
    }
    let bench = Bench::new(CNN, &[1, 24, 24], 96);
    let limited = format!("{TRAIN} --arena-limit 6MiB --arena-extend same --batch 96 --steps 2 --recompute off");
    let view = bench.view(&format!("{limited} -o fits.onnx"));
    let micro_batch = view["micro_batch"].as_u64().expect("a number");
    assert!((2..95).contains(&micro_batch), "{view:#}");
    let retries = |view: &Value| view["curve"][0]["n_retries"].as_u64().expect("a number");
    assert_eq!(retries(&view), 0);
    let bytes = |name: &str| view["memory"][name].as_f64().expect("bytes");
    assert!((bytes("predicted_bytes") / bytes("measured_bytes") - 1.0).abs() < 0.005, "{view:#}");
    // The whole batch really runs out of memory, and so does one sample more than predicted.
    for n_samples in [96, micro_batch + 1] {
        let more = bench.view(&format!("{limited} --micro-batch {n_samples} -o more{n_samples}.onnx"));
        assert!(retries(&more) > 0, "{n_samples} samples at once fit: {more:#}");
        let close = |name: &str| {
            let (a, b) = (more[name].as_f64().expect("a loss"), view[name].as_f64().expect("a loss"));
            assert!((a - b).abs() < 1e-6 * b.abs(), "{a} != {b}");
        };
        close("first_loss");
        close("last_loss");
    }
}

#[test]
fn what_ends_a_run_is_said_and_nothing_is_lost_but_the_step_in_hand() {
    if !has_runtime() {
        return;
    }
    // A loss that is no number.
    let bench = mlp(32);
    let said = bench.refused(&format!("{TRAIN} --batch 64 --optimizer sgd --lr 1e30 -o nan.onnx"));
    assert!(said.contains("of step") && said.contains("as they were before it"), "{said}");
    assert!(said.contains("hint: a smaller `--lr`") && said.contains("nan.checkpoints/step-"), "{said}");
    assert!(!bench.path("nan.onnx").exists());

    // Bad data: stop, or skip with a count.
    let mut data = npz::read(&bench.path("data.npz")).expect("it reads");
    let mut numbers = noise(7, 512 * 16);
    (numbers[16 * 300], numbers[16 * 301]) = (f32::NAN, f32::NAN);
    data.insert("x", Tensor::from_f32(vec![512, 16], &numbers).expect("numbers"));
    npz::write(&bench.path("data.npz"), &data).expect("it is written");
    let arguments = format!("{TRAIN} --batch 64 --no-shuffle");
    let said = bench.refused(&format!("{arguments} -o bad.onnx"));
    assert!(said.contains("`x` of sample 300 of `data.npz` has 1 values that are no numbers"), "{said}");
    assert!(said.contains("--bad-samples skip") && said.contains("bad.checkpoints/step-000000004"), "{said}");
    let view = bench.view(&format!("{arguments} --bad-samples skip -o bad.onnx --resume"));
    assert_eq!((&view["n_skipped"], &view["resumed_from"]), (&2.into(), &4.into()));

    // A label that is no class, a column of the data that is not there, a loss that nobody knows.
    let mut data = npz::read(&bench.path("data.npz")).expect("it reads");
    data.insert("x", Tensor::from_f32(vec![512, 16], &noise(7, 512 * 16)).expect("numbers"));
    data.insert("label", Tensor::from_i64(vec![512], &[9; 512]).expect("labels"));
    npz::write(&bench.path("classes.npz"), &data).expect("it is written");
    let said = bench.refused(&format!("{} -o classes.onnx", TRAIN.replace("data.npz", "classes.npz")));
    assert!(said.contains("in `label` is no class: the model has 4") && said.contains("--ignore-index"), "{said}");
    assert!(bench.refused(&format!("{TRAIN} --map x=pixels -o x.onnx")).contains("the data has no `pixels`"));
    assert!(bench.refused(&format!("{TRAIN} --loss nobody -o x.onnx")).contains("cross-entropy, mse, kl"));
    assert!(bench.refused(&format!("{TRAIN} --value nobody -o x.onnx")).contains("nobody"));

    // Fields that fit nothing.
    let said = bench.refused(&format!("{TRAIN} --target nothing -o x.onnx"));
    assert!(said.contains("the data has no `nothing`, only `x`, `label`"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_checkpoint_before() {
    if !has_runtime() {
        return;
    }
    let bench = mlp(2000);
    let arguments = format!("{TRAIN} --epochs 4 --batch 64 --checkpoint-every 2 -o out.onnx");
    // A file may not be larger than 256 KiB: a checkpoint is, and the write fails as on a full disk.
    let limited = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_onnxfit");
        let mut shell = Command::new("bash");
        shell.current_dir(bench.folder.path());
        shell.args(["-c", &format!("trap '' XFSZ; ulimit -f 256; exec {program} {arguments}")]);
        let output = shell.output().expect("a shell");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = limited(&arguments);
    assert!(said.contains("cannot write checkpoint") && said.contains("there is none before it"), "{said}");
    assert_eq!(std::fs::read_dir(bench.path("out.checkpoints")).expect("a folder").count(), 0);
    bench.view(&format!("{arguments} --steps 4"));
    let said = limited(&format!("{arguments} --resume"));
    assert!(said.contains("the last one is `out.checkpoints/step-000000004.safetensors`"), "{said}");
    assert!(said.contains("make room and go on with `--resume`"), "{said}");
    assert_eq!(bench.view(&format!("{arguments} --resume"))["resumed_from"], 4);
}

#[test]
fn a_student_learns_from_a_teacher_and_adapters_become_weights() {
    if !has_runtime() {
        return;
    }
    let bench = mlp(32);
    bench.view(&format!("{TRAIN} --epochs 10 --batch 64 --lr 0.01 -o teacher.onnx"));
    let distill = "distill teacher.onnx model.onnx --provider cpu --threads 1 --offline --data data.npz --epochs 6 \
                   --batch 64 --lr 0.01 --share 0.7";
    let disk = bench.view(&format!("{distill} --teacher-in disk -o disk.onnx"));
    let beside = bench.view(&format!("{distill} --teacher-in beside -o beside.onnx"));
    let half = bench.view(&format!("{distill} --teacher-in disk --teacher-fp16 -o half.onnx"));
    let loss = |view: &Value, name: &str| view[name].as_f64().expect("a loss");
    assert!(loss(&disk, "last_loss") < 0.5 * loss(&disk, "first_loss"), "{disk:#}");
    for other in [&beside, &half] {
        let (a, b) = (loss(other, "last_loss"), loss(&disk, "last_loss"));
        assert!((a - b).abs() < 0.01 * b, "{a} != {b}");
    }
    // A narrower student, whose features are projected to the teacher's width; beside it and not.
    let narrow = mlp(12);
    std::fs::copy(narrow.path("model.onnx"), bench.path("narrow.onnx")).expect("a copy");
    let alike = distill.replace("model.onnx", "narrow.onnx") + " --feature h=h --validation data.npz";
    let nodes = |name: &str| onnxfit::Model::open(bench.path(name)).expect("it opens").graph().graph.n_nodes();
    for place in ["disk", "beside"] {
        let view = bench.view(&format!("{alike} --teacher-in {place} -o narrow-{place}.onnx"));
        assert!(loss(&view, "last_loss") < 0.7 * loss(&view, "first_loss"), "{view:#}");
        assert!(view["validation"]["points"][5]["accuracy"].as_f64() > Some(0.6), "{view:#}");
        assert_eq!(nodes("narrow.onnx"), nodes(&format!("narrow-{place}.onnx")));
    }
    // In half precision with weights in single the curve is nearly the same, and so is the graph.
    let (mixed, single) =
        (bench.view(&format!("{TRAIN} --epochs 6 --batch 64 --lr 0.01 --mixed -o mixed.onnx")), "mixed.onnx");
    assert!(loss(&mixed, "last_loss") < 0.6 * loss(&mixed, "first_loss"), "{mixed:#}");
    let after = onnxfit::Model::open(bench.path(single)).expect("it opens");
    let before = onnxfit::Model::open(bench.path("model.onnx")).expect("it opens");
    assert_eq!(before.graph().graph.n_nodes(), after.graph().graph.n_nodes());
    let lora = bench.view(&format!("{TRAIN} --epochs 6 --batch 64 --lr 0.02 --lora 4 -o lora.onnx"));
    assert!(loss(&lora, "last_loss") < 0.8 * loss(&lora, "first_loss"), "{lora:#}");
    // The merged model answers as the adapted one did.
    let again = bench.view("train lora.onnx --provider cpu --offline --data data.npz --batch 512 --steps 1 -o x.onnx");
    assert!(loss(&again, "last_loss") < 1.3 * loss(&lora, "last_loss"), "{again:#}");
}

#[test]
fn the_model_is_written_as_it_was_when_it_answered_best_to_what_it_had_not_seen() {
    if !has_runtime() {
        return;
    }
    let bench = mlp(64);
    let data = npz::read(&bench.path("data.npz")).expect("it reads");
    for (name, rows) in [("few", 0..48), ("unseen", 256..512)] {
        let parts = data.iter().map(|(field, all)| (field.to_owned(), all.rows(rows.clone()).expect("rows")));
        npz::write(&bench.path(&format!("{name}.npz")), &parts.collect()).expect("it is written");
    }
    let train = TRAIN.replace("data.npz", "few.npz");
    let arguments = format!("{train} --validation unseen.npz --epochs 12 --batch 16 --lr 0.05 --checkpoint-every 7");
    let view = bench.view(&format!("{arguments} -o out.onnx"));
    let points = view["validation"]["points"].as_array().expect("a list");
    let losses: Vec<f64> = points.iter().map(|point| point["loss"].as_f64().expect("a loss")).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    // So few samples are learnt by heart: what was best is not what was last.
    assert!(losses.len() == 12 && best < losses[11] && losses[0] > best, "{losses:?}");
    let kept = &points[losses.iter().position(|loss| *loss == best).expect("it is there")];
    assert_eq!(view["validation"]["kept_step"], kept["step"]);
    let accuracy = kept["accuracy"].as_f64().expect("a share");
    assert!((0.5..1.0).contains(&accuracy) && kept["n_samples"] == 256, "{kept}");
    // The file is that model: asked again it answers the same, adapters and interrupted runs too.
    let again = TRAIN.replace("model.onnx", "out.onnx").replace("data.npz", "unseen.npz");
    let again = bench.view(&format!("{again} --batch 256 --steps 1 -o again.onnx"));
    let loss = again["first_loss"].as_f64().expect("a loss");
    assert!((loss - best).abs() < 1e-5 * best, "{loss} and {best}");
    bench.view(&format!("{arguments} --steps 20 -o parts.onnx"));
    let parts = bench.view(&format!("{arguments} --resume -o parts.onnx"));
    // What was asked in the middle of a pass is not asked again.
    assert_eq!(parts["validation"], view["validation"], "{parts:#}");
    let bytes = |name: &str| std::fs::read(bench.path(name)).expect("a model");
    assert!(bytes("parts.onnx") == bytes("out.onnx"), "the weights differ");
    let lora = bench.view(&format!("{arguments} --lora 2 -o lora.onnx"));
    assert!(lora["validation"]["kept_step"].as_u64() > Some(0), "{lora:#}");
}
