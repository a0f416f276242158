//! Pruning on a real small task: handwritten digits.
//!
//! Trains a teacher from nothing but a graph, prunes it, lets it recover, and trains the same small
//! model without a teacher. `digits DIGITS.npz FOLDER` prints a line of JSON for each model, seed and
//! share; the arrays are `x` (float, N×1×8×8) and `y` (int64).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use onnxfit::runtime::{Library, OptimizationLevel, Session, SessionSpec, Tensor, Tensors, locate, npz};
use onnxfit::{Model, Provider, PruneMeasure, PruneOptions, PruneRecovery, PruneTarget, Quiet, Request};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::{DataType, ModelFile, RandomWeights, SaveOptions, TensorSource, WeightStore, save, text};
use onnxfit_rewrite::weight_roles::roles;
use onnxfit_train::{
    Decay, GradientOptions, Loss, LossKind, LossTerm, Moments, Optimizer, PlanOptions, Rule, Schedule, SessionRunner,
    Trainer, TrainingPlan,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: u64 = 64;
const N_TEST: u64 = 600;
/// A transformer needs more.
const N_TEACHER_EPOCHS: [u64; 3] = [40, 40, 120];
const N_RECOVERY_EPOCHS: u64 = 20;
const TEACHER_RATE: f64 = 2e-3;
const RECOVERY_RATE: f64 = 1e-3;
const SHARES: [f64; 3] = [0.6, 0.3, 0.1];

const MLP: &str = "g (float[N,1,8,8] x) => (float[N,10] logits) \
    <float[64,128] w1, float[128] b1, float[128,128] w2, float[128] b2, float[128,10] w3, float[10] b3> {
    f = Flatten(x) a1 = Gemm(f, w1, b1) r1 = Relu(a1) a2 = Gemm(r1, w2, b2) r2 = Relu(a2)
    logits = Gemm(r2, w3, b3) }";

const CNN: &str = "g (float[N,1,8,8] x) => (float[N,10] logits) \
    <float[16,1,3,3] w1, float[16] b1, float[32,16,3,3] w2, float[32] b2, float[32,32,3,3] w3, float[32] b3, \
     float[64,32,3,3] w4, float[64] b4, float[64,10] w5, float[10] b5> {
    a1 = Conv<pads = [1,1,1,1]>(x, w1, b1) r1 = Relu(a1)
    a2 = Conv<pads = [1,1,1,1], strides = [2,2]>(r1, w2, b2) r2 = Relu(a2)
    a3 = Conv<pads = [1,1,1,1]>(r2, w3, b3) s3 = Add(a3, r2) r3 = Relu(s3)
    a4 = Conv<pads = [1,1,1,1], strides = [2,2]>(r3, w4, b4) r4 = Relu(a4)
    p = GlobalAveragePool(r4) f = Flatten(p) logits = Gemm(f, w5, b5) }";

/// Two blocks of four heads over sixteen patches.
fn transformer() -> String {
    let mut weights = "float[32,1,2,2] wp, float[32] bp, float[1,16,32] pos".to_owned();
    let mut nodes = "
    flat = Constant<value = int64[3] {0, 32, 16}>() heads = Constant<value = int64[4] {0, 16, 4, 8}>()
    joined = Constant<value = int64[3] {0, 16, 32}>() scale = Constant<value = float {0.35355}>()
    patches = Conv<strides = [2,2]>(x, wp, bp) rows = Reshape(patches, flat)
    tokens = Transpose<perm = [0,2,1]>(rows) h0 = Add(tokens, pos)"
        .to_owned();
    for block in 0..2 {
        let (l, next) = (block, block + 1);
        weights += &format!(
            ", float[32] g1_{l}, float[32] c1_{l}, float[32] g2_{l}, float[32] c2_{l}, \
             float[32,128] u{l}, float[128] ub{l}, float[128,32] d{l}, float[32] db{l}, \
             float[32,32] o{l}, float[32] ob{l}"
        );
        nodes += &format!("\n    n{l} = LayerNormalization(h{l}, g1_{l}, c1_{l})");
        for (name, order) in [("q", "0,2,1,3"), ("k", "0,2,3,1"), ("v", "0,2,1,3")] {
            weights += &format!(", float[32,32] w{name}{l}, float[32] b{name}{l}");
            nodes += &format!(
                "\n    {name}m{l} = MatMul(n{l}, w{name}{l}) {name}a{l} = Add({name}m{l}, b{name}{l}) \
                 {name}r{l} = Reshape({name}a{l}, heads) {name}{l} = Transpose<perm = [{order}]>({name}r{l})"
            );
        }
        nodes += &format!(
            "\n    s{l} = MatMul(q{l}, k{l}) t{l} = Mul(s{l}, scale) p{l} = Softmax<axis = -1>(t{l})
    z{l} = MatMul(p{l}, v{l}) zt{l} = Transpose<perm = [0,2,1,3]>(z{l}) zr{l} = Reshape(zt{l}, joined)
    om{l} = MatMul(zr{l}, o{l}) oa{l} = Add(om{l}, ob{l}) m{l} = Add(h{l}, oa{l})
    e{l} = LayerNormalization(m{l}, g2_{l}, c2_{l}) um{l} = MatMul(e{l}, u{l}) ua{l} = Add(um{l}, ub{l})
    ge{l} = Gelu(ua{l}) dm{l} = MatMul(ge{l}, d{l}) da{l} = Add(dm{l}, db{l}) h{next} = Add(m{l}, da{l})"
        );
    }
    format!(
        "g (float[N,1,8,8] x) => (float[N,10] logits) <{weights}, float[32,10] wl, float[10] bl> {{{nodes}
    axes = Constant<value = int64[1] {{1}}>() pooled = ReduceMean<keepdims = 0>(h2, axes)
    logits = Gemm(pooled, wl, bl) }}"
    )
}

struct Digits {
    train: Tensors,
    test: Tensors,
}

impl Digits {
    fn read(path: &Path) -> Outcome<Self> {
        let all = npz::read(path)?;
        let (x, y) = (all.get("x").ok_or("no array `x`")?, all.get("y").ok_or("no array `y`")?);
        let n = x.shape()[0];
        let order = shuffled(n as usize, 12_345);
        let pick = |from: u64, to: u64| -> Outcome<Tensors> {
            let rows: Vec<u64> = order[from as usize..to as usize].iter().map(|index| *index as u64).collect();
            Ok([("x", x), ("y", y)]
                .into_iter()
                .map(|(name, all)| Ok((name.to_owned(), take(all, &rows)?)))
                .collect::<Outcome<Vec<_>>>()?
                .into_iter()
                .collect())
        };
        Ok(Self { train: pick(N_TEST, n)?, test: pick(0, N_TEST)? })
    }
}

/// These rows of a tensor.
fn take(tensor: &Tensor, rows: &[u64]) -> Outcome<Tensor> {
    let parts: Vec<Tensor> = rows.iter().filter_map(|row| tensor.rows(*row..row + 1)).collect();
    let parts: Vec<&Tensor> = parts.iter().collect();
    Tensor::concatenate(&parts, 0).ok_or_else(|| "rows outside the tensor".into())
}

/// The numbers below `n` in an order that depends on the seed.
fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for at in (1..n).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, ((state >> 33) as usize) % (at + 1));
    }
    order
}

/// Trains with labels and writes the result.
fn train(
    library: &'static Library,
    model: &GraphModel,
    weights: &dyn TensorSource,
    data: &Tensors,
    (n_epochs, rate, seed): (u64, f64, u64),
    path: &Path,
) -> Outcome<()> {
    let term = LossTerm::new(LossKind::CrossEntropy { class_axis: 1, ignore_index: None }, "logits", "y");
    let optimizer = Optimizer::new(Rule::Adam(Moments::default()));
    let options = PlanOptions { gradient: GradientOptions::default(), ..PlanOptions::default() };
    let plan = TrainingPlan::new(model, &Loss::of(term), &optimizer, weights, &options)?;
    let spec = SessionSpec { intra_op_threads: Some(1), ..SessionSpec::default() };
    let runner = SessionRunner::new(library, &plan, &spec, weights)?;
    let mut trainer = Trainer::new(plan, runner, BATCH)?;
    let n = data.get("x").ok_or("no array `x`")?.shape()[0];
    let n_steps = n_epochs * n.div_ceil(BATCH);
    let schedule = Schedule { rate, n_warmup_steps: 0, decay: Decay::Cosine { n_steps, end_factor: 0.02 } };
    for epoch in 0..n_epochs {
        let order = shuffled(n as usize, seed * 1000 + epoch + 1);
        for rows in order.chunks(BATCH as usize) {
            let rows: Vec<u64> = rows.iter().map(|row| *row as u64).collect();
            let mut batch = Tensors::new();
            for (name, tensor) in data.iter() {
                batch.insert(name, take(tensor, &rows)?);
            }
            trainer.step(&batch, schedule.at(trainer.n_steps()))?;
        }
    }
    write(model, weights, trainer.parameters(), path)
}

fn write(
    model: &GraphModel,
    weights: &dyn TensorSource,
    parameters: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Outcome<()> {
    let mut proto = model.to_proto();
    for tensor in proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        match parameters.get(tensor.name()).and_then(Tensor::bytes) {
            Some(bytes) => tensor.set_raw(bytes.to_vec().into()),
            None if !tensor.is_inline() => {
                let bytes = weights.tensor_bytes(tensor)?;
                tensor.set_raw(bytes);
            }
            None => {}
        }
    }
    save(&proto, path, &SaveOptions::new(weights))?;
    Ok(())
}

/// The share of test images whose class is found.
fn accuracy(library: &'static Library, path: &Path, test: &Tensors) -> Outcome<f64> {
    let spec = SessionSpec { optimization: OptimizationLevel::All, ..SessionSpec::new(path) };
    let mut session = Session::open(library, &spec)?;
    let mut inputs = Tensors::new();
    inputs.insert("x", test.get("x").ok_or("no array `x`")?.clone());
    let outputs = session.run(&inputs)?;
    let logits = outputs.get("logits").and_then(Tensor::values).ok_or("no logits")?;
    let labels = test.get("y").and_then(Tensor::values).ok_or("no labels")?;
    let right = logits.chunks_exact(10).zip(&labels).filter(|(row, label)| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index as f64);
        best == Some(**label)
    });
    Ok(right.count() as f64 / labels.len() as f64)
}

/// The training images without their labels, in batches.
fn write_batches(data: &Tensors, folder: &Path) -> Outcome<()> {
    std::fs::create_dir_all(folder)?;
    let x = data.get("x").ok_or("no array `x`")?;
    let n = x.shape()[0];
    for (number, start) in (0..n).step_by(BATCH as usize).enumerate() {
        let mut batch = Tensors::new();
        batch.insert("x", x.rows(start..(start + BATCH).min(n)).ok_or("rows outside the tensor")?);
        npz::write(&folder.join(format!("{number:03}.npz")), &batch)?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "__worker") {
        onnxfit::runtime::worker::serve(std::io::stdin().lock(), std::io::stdout().lock())?;
        return Ok(());
    }
    let [digits, folder] = arguments.as_slice() else { return Err("usage: digits DIGITS.npz FOLDER".into()) };
    let folder = PathBuf::from(folder);
    let found = locate::find(&locate::Places::of_this_process());
    let library = Library::load(found.library().ok_or("no ONNX Runtime found")?)?;
    let digits = Digits::read(Path::new(digits))?;
    let batches = folder.join("batches");
    write_batches(&digits.train, &batches)?;
    let models = [("MLP", MLP.to_owned()), ("CNN", CNN.to_owned()), ("ViT", transformer())];
    for ((name, model), n_epochs) in models.into_iter().zip(N_TEACHER_EPOCHS) {
        let graph = GraphModel::from_proto(&text::parse(&model)?)?;
        let store = WeightStore::new(&folder);
        for seed in 0..3u64 {
            let path = |what: &str| folder.join(format!("{name}-{seed}-{what}.onnx"));
            let weights = RandomWeights::new(&store, seed + 1, roles(&graph));
            train(library, &graph, &weights, &digits.train, (n_epochs, TEACHER_RATE, seed), &path("teacher"))?;
            let teacher = accuracy(library, &path("teacher"), &digits.test)?;
            for share in SHARES {
                let prune = |what: &str, recovery: PruneRecovery| -> Outcome<Option<(f64, f64)>> {
                    let options = PruneOptions {
                        target: PruneTarget::Memory(share, PruneMeasure::Weights),
                        importance: onnxfit::PruneImportance::Wanda,
                        recovery,
                        output: path(what),
                        data: Some(batches.clone()),
                        seed,
                        random_weights: None,
                        force: false,
                        offline: true,
                        worker: std::env::current_exe()?,
                    };
                    let model = Model::open(path("teacher"))?;
                    let view = onnxfit::prune(&model, &Request::new(Provider::Cpu), &options, &Quiet)?;
                    if !view.pruned {
                        return Ok(None);
                    }
                    Ok(Some((accuracy(library, &path(what), &digits.test)?, view.weights.ratio)))
                };
                // What is not free stays: the features of a transformer go through its normalizations.
                let Some((pruned, ratio)) = prune("pruned", PruneRecovery::Off)? else { continue };
                let Some((refitted, _)) = prune("refitted", PruneRecovery::Refit)? else { continue };
                let recovery = PruneRecovery::Distill { n_epochs: N_RECOVERY_EPOCHS, rate: RECOVERY_RATE };
                let Some((distilled, _)) = prune("distilled", recovery)? else { continue };
                // The same small model, without a teacher: from what was cut, and from nothing.
                let small = ModelFile::open(path("pruned"))?;
                let student = GraphModel::from_proto(&small.proto)?;
                let settings = (N_RECOVERY_EPOCHS, RECOVERY_RATE, seed);
                train(library, &student, small.weights(), &digits.train, settings, &path("tuned"))?;
                let mut fresh = small.proto.clone();
                for tensor in fresh.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
                    if tensor.data_type == Some(DataType::Float.number()) {
                        let length = tensor.size_bytes()?.get();
                        tensor.set_external(text::ABSENT_LOCATION, 0, length);
                    }
                }
                let fresh = GraphModel::from_proto(&fresh)?;
                let weights = RandomWeights::new(&store, seed + 101, roles(&fresh));
                let settings = (n_epochs, TEACHER_RATE, seed);
                train(library, &fresh, &weights, &digits.train, settings, &path("alone"))?;
                let line = serde_json::json!({
                    "model": name, "seed": seed, "asked": share, "weights_ratio": ratio, "teacher": teacher,
                    "pruned": pruned, "refitted": refitted, "distilled": distilled,
                    "tuned_on_labels": accuracy(library, &path("tuned"), &digits.test)?,
                    "trained_alone": accuracy(library, &path("alone"), &digits.test)?,
                });
                writeln!(std::io::stdout(), "{line}")?;
            }
        }
    }
    Ok(())
}
