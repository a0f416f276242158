//! A batch in parts is the batch: same parameters after ten steps, however it is cut.

mod common;

use std::collections::BTreeMap;

use common::{library, parse};
use onnxfit_onnx::WeightStore;
use onnxfit_runtime::{Library, SessionSpec, Tensor, Tensors};
use onnxfit_train::{
    Loss, LossKind, LossTerm, Moments, Optimizer, PlanOptions, Rule, SessionRunner, Trainer, TrainingPlan,
};

const N_SAMPLES: u64 = 64;

/// Numbers that look random and are the same everywhere.
fn noise(seed: u64, n: u64) -> impl Iterator<Item = f64> {
    (0..n).map(move |index| {
        let mut z = (seed << 32).wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 11) as f64 / (1u64 << 53) as f64) * 2.0 - 1.0
    })
}

fn normal(seed: u64, shape: &[u64], scale: f64) -> Tensor {
    let values: Vec<f32> = noise(seed, shape.iter().product()).map(|value| (value * scale) as f32).collect();
    Tensor::from_f32(shape.to_vec(), &values).unwrap()
}

fn classes(seed: u64, shape: &[u64], n_classes: i64, masked: f64) -> Tensor {
    let n = shape.iter().product();
    let labels: Vec<i64> = noise(seed, n)
        .zip(noise(seed + 1, n))
        .map(|(a, b)| if b.abs() < masked { -100 } else { ((a + 1.0) / 2.0 * n_classes as f64) as i64 % n_classes })
        .collect();
    Tensor::from_i64(shape.to_vec(), &labels).unwrap()
}

/// Declares weights as text, with values.
fn weights(list: &[(&str, &[u64])]) -> String {
    let one = |(index, (name, shape)): (usize, &(&str, &[u64]))| {
        let fan_in: u64 = shape[1..].iter().product::<u64>().max(4);
        let n = shape.iter().product();
        let numbers: Vec<String> =
            noise(100 + index as u64, n).map(|value| format!("{:.6}", value * (2.0 / fan_in as f64).sqrt())).collect();
        let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
        format!("float[{}] {name} = {{{}}}", dims.join(","), numbers.join(","))
    };
    list.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

struct Setting {
    text: String,
    loss: Loss,
    batch: Tensors,
    options: PlanOptions,
}

fn cnn() -> Setting {
    let weights = weights(&[
        ("c1", &[8, 1, 3, 3]),
        ("b1", &[8]),
        ("c2", &[16, 8, 3, 3]),
        ("b2", &[16]),
        ("w", &[10, 16]),
        ("b", &[10]),
    ]);
    let text = format!(
        "g (float[N,1,12,12] x) => (float[N,10] logits) <{weights}> {{
            h1 = Conv<pads = [1,1,1,1]>(x, c1, b1) r1 = Relu(h1)
            p1 = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(r1)
            h2 = Conv<pads = [1,1,1,1], strides = [2,2]>(p1, c2, b2) r2 = HardSwish(h2)
            g = GlobalAveragePool(r2) f = Flatten(g) logits = Gemm<transB = 1>(f, w, b)
        }}"
    );
    let kind = LossKind::CrossEntropy { class_axis: 1, ignore_index: None };
    let mut batch = Tensors::new();
    batch.insert("x", normal(1, &[N_SAMPLES, 1, 12, 12], 1.0));
    batch.insert("labels", classes(2, &[N_SAMPLES], 10, 0.0));
    Setting { text, loss: Loss::of(LossTerm::new(kind, "logits", "labels")), batch, options: PlanOptions::default() }
}

fn transformer() -> Setting {
    let weights = weights(&[
        ("embed", &[50, 16]),
        ("g1", &[16]),
        ("wq", &[16, 16]),
        ("wk", &[16, 16]),
        ("wv", &[16, 16]),
        ("wo", &[16, 16]),
        ("bo", &[16]),
        ("g2", &[16]),
        ("w1", &[16, 32]),
        ("w2", &[32, 16]),
    ]);
    // The embedding is the output projection too.
    let text = format!(
        "g (int64[B,S] ids) => (float[B,S,50] logits) <{weights}, int64[4] heads = {{0,0,2,8}}, int64[3] joined = {{0,0,16}}, float scale = {{0.3535534}}> {{
            e = Gather(embed, ids) n1 = LayerNormalization(e, g1)
            q = MatMul(n1, wq) k = MatMul(n1, wk) v = MatMul(n1, wv)
            qh = Reshape(q, heads) kh = Reshape(k, heads) vh = Reshape(v, heads)
            qt = Transpose<perm = [0,2,1,3]>(qh) kt = Transpose<perm = [0,2,3,1]>(kh) vt = Transpose<perm = [0,2,1,3]>(vh)
            s = MatMul(qt, kt) ss = Mul(s, scale) p = Softmax<axis = -1>(ss) c = MatMul(p, vt)
            ct = Transpose<perm = [0,2,1,3]>(c) cj = Reshape(ct, joined) o = MatMul(cj, wo) ob = Add(o, bo)
            r = Add(e, ob) n2 = LayerNormalization(r, g2) m1 = MatMul(n2, w1) a = Gelu(m1) m2 = MatMul(a, w2)
            y = Add(r, m2) et = Transpose<perm = [1,0]>(embed) logits = MatMul(y, et)
        }}"
    );
    let kind = LossKind::CrossEntropy { class_axis: -1, ignore_index: Some(-100) };
    let mut batch = Tensors::new();
    batch.insert("ids", classes(3, &[N_SAMPLES, 7], 50, 0.0));
    batch.insert("labels", classes(5, &[N_SAMPLES, 7], 50, 0.6));
    Setting { text, loss: Loss::of(LossTerm::new(kind, "logits", "labels")), batch, options: PlanOptions::default() }
}

fn lstm() -> Setting {
    let weights = weights(&[("w", &[1, 32, 5]), ("r", &[1, 32, 8]), ("b", &[1, 64]), ("out", &[8, 3]), ("bias", &[3])]);
    let text = format!(
        "g (float[T,B,5] x) => (float[T,B,3] y) <{weights}, int64[1] one = {{1}}> {{
            h = LSTM<hidden_size = 8>(x, w, r, b) s = Squeeze(h, one) m = MatMul(s, out) y = Add(m, bias)
        }}"
    );
    let mut batch = Tensors::new();
    batch.insert("x", normal(7, &[6, N_SAMPLES, 5], 1.0));
    batch.insert("target", normal(8, &[6, N_SAMPLES, 3], 1.0));
    let batch_axes = BTreeMap::from([("x".to_owned(), Some(1)), ("target".to_owned(), Some(1))]);
    Setting {
        text,
        loss: Loss::of(LossTerm::new(LossKind::SquaredError, "y", "target")),
        batch,
        options: PlanOptions { batch_axes, ..PlanOptions::default() },
    }
}

fn trainer(
    library: &'static Library,
    setting: &Setting,
    optimizer: &Optimizer,
    micro_batch: u64,
) -> Trainer<SessionRunner> {
    let store = WeightStore::new(".");
    let mut text = parse(&setting.text);
    text.import_opset("", 21);
    let plan = TrainingPlan::new(&text, &setting.loss, optimizer, &store, &setting.options).unwrap();
    let spec = SessionSpec { intra_op_threads: Some(1), ..SessionSpec::default() };
    let runner = SessionRunner::new(library, &plan, &spec, &store).unwrap();
    Trainer::new(plan, runner, micro_batch).unwrap()
}

fn ten_steps(
    library: &'static Library,
    setting: &Setting,
    optimizer: &Optimizer,
    micro_batch: u64,
) -> (BTreeMap<String, Tensor>, Vec<f64>) {
    let mut trainer = trainer(library, setting, optimizer, micro_batch);
    let losses = (0..10).map(|_| trainer.step(&setting.batch, 0.03).unwrap().loss).collect();
    (trainer.parameters().clone(), losses)
}

/// The distance of two sets of parameters, relative to the size of one, the worst of all.
fn distance(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> f64 {
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    a.iter()
        .map(|(name, tensor)| {
            let (a, b) = (tensor.values().unwrap(), b[name].values().unwrap());
            let difference: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            norm(&difference) / norm(&b).max(1e-12)
        })
        .fold(0.0, f64::max)
}

fn is_the_same_however_it_is_cut(name: &str, setting: &Setting) {
    let Some(library) = library() else { return };
    let sgd = Optimizer::new(Rule::Sgd { momentum: 0.9, is_nesterov: false });
    let adam = Optimizer {
        weight_decay: 0.01,
        gradient_norm_max: Some(1.0),
        ..Optimizer::new(Rule::AdamW(Moments { epsilon: 1e-4, ..Moments::default() }))
    };
    for (rule, optimizer) in [("sgd", sgd), ("adamw", adam)] {
        let (whole, losses) = ten_steps(library, setting, &optimizer, N_SAMPLES);
        assert!(losses[9] < losses[0], "{name} {rule} does not learn: {losses:?}");
        // 4 x 16, 7 parts of which the last is smaller, 64 x 1.
        for micro_batch in [16, 10, 1] {
            let (parts, part_losses) = ten_steps(library, setting, &optimizer, micro_batch);
            let far = distance(&parts, &whole);
            let loss_error = losses.iter().zip(&part_losses).map(|(a, b)| (a - b).abs() / a.abs()).fold(0.0, f64::max);
            eprintln!("{name} {rule} in parts of {micro_batch}: parameters {far:.1e}, loss {loss_error:.1e}");
            assert!(far < 1e-6, "{name} {rule} in parts of {micro_batch}: {far:.1e}");
            assert!(loss_error < 1e-6, "{name} {rule} in parts of {micro_batch}: loss {loss_error:.1e}");
        }
    }
}

#[test]
fn weights_held_in_the_runtime_are_the_same_bits() {
    let Some(library) = library() else { return };
    let adam = Optimizer::new(Rule::AdamW(Moments::default()));
    for setting in [cnn(), transformer(), lstm()] {
        let (plain, losses) = ten_steps(library, &setting, &adam, N_SAMPLES);
        let mut held = trainer(library, &setting, &adam, N_SAMPLES);
        held.runner().hold(true);
        // A step in parts in between brings everything back.
        for (step, loss) in losses.iter().enumerate() {
            assert_eq!(held.step(&setting.batch, 0.03).unwrap().loss, *loss, "step {step}");
            if step == 4 {
                held.sync().unwrap();
            }
        }
        held.sync().unwrap();
        assert!(held.parameters() == &plain);
        let mut mixed = trainer(library, &setting, &adam, N_SAMPLES);
        mixed.runner().hold(true);
        for step in 0..10 {
            mixed.set_micro_batch(if step % 3 == 1 { 16 } else { N_SAMPLES });
            mixed.step(&setting.batch, 0.03).unwrap();
        }
        mixed.sync().unwrap();
        let far = distance(mixed.parameters(), &plain);
        assert!(far < 1e-6, "{far:.1e}");
    }
}

#[test]
fn a_convolutional_network_learns_the_same_in_parts() {
    is_the_same_however_it_is_cut("cnn", &cnn());
}

#[test]
fn a_transformer_with_masked_tokens_learns_the_same_in_parts() {
    is_the_same_however_it_is_cut("transformer", &transformer());
}

#[test]
fn an_lstm_learns_the_same_in_parts() {
    is_the_same_however_it_is_cut("lstm", &lstm());
}
