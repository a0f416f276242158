//! How many steps a second the fused training graph makes; compared by hand with other tools.
//!
//! `cargo test --release -p onnxfit-train --test speed -- --ignored --nocapture`, and
//! `python tests/reference/speed.py` for onnxsim on the same models. With `EXPORT=folder` the
//! graphs are written there, to be run by the same program as the other tool's.

mod common;

use std::time::Instant;

use common::{library, parse};
use onnxfit_onnx::{RandomWeights, SaveOptions, WeightStore, save};
use onnxfit_runtime::{SessionSpec, Tensor, Tensors};
use onnxfit_train::{
    Loss, LossKind, LossTerm, Moments, Optimizer, PlanOptions, Rule, SessionRunner, Trainer, TrainingPlan,
};

const MLP: &str =
    "g (float[32,64] x) => (float[32,10] y) <float[64,256] w1, float[256] b1, float[256,10] w2, float[10] b2> {
    a = Gemm(x, w1, b1) r = Relu(a) y = Gemm(r, w2, b2) }";
const CNN: &str = "g (float[32,1,28,28] x) => (float[32,10] y) <float[16,1,3,3] c1, float[16] b1, float[32,16,3,3] c2, float[32] b2, float[10,1568] w, float[10] b> {
    h1 = Conv<pads = [1,1,1,1], kernel_shape = [3,3]>(x, c1, b1) r1 = Relu(h1) p1 = MaxPool<kernel_shape = [2,2], strides = [2,2]>(r1)
    h2 = Conv<pads = [1,1,1,1], kernel_shape = [3,3]>(p1, c2, b2) r2 = Relu(h2) p2 = MaxPool<kernel_shape = [2,2], strides = [2,2]>(r2)
    f = Flatten(p2) y = Gemm<transB = 1>(f, w, b) }";
const TRANSFORMER: &str = "g (float[8,32,64] x) => (float[8,32,64] y)
    <float[64] g1, float[64] n1, float[64,64] wq, float[64,64] wk, float[64,64] wv, float[64,64] wo, float[64] g2, float[64] n2,
     float[64,256] w1, float[256] b1, float[256,64] w2, float[64] b2, int64[4] heads = {8,32,4,16}, int64[3] joined = {8,32,64}, float scale = {0.25}> {
    l1 = LayerNormalization<axis = -1>(x, g1, n1) q = MatMul(l1, wq) k = MatMul(l1, wk) v = MatMul(l1, wv)
    qh = Reshape(q, heads) kh = Reshape(k, heads) vh = Reshape(v, heads)
    qt = Transpose<perm = [0,2,1,3]>(qh) kt = Transpose<perm = [0,2,3,1]>(kh) vt = Transpose<perm = [0,2,1,3]>(vh)
    s = MatMul(qt, kt) ss = Mul(s, scale) p = Softmax<axis = -1>(ss) c = MatMul(p, vt)
    ct = Transpose<perm = [0,2,1,3]>(c) cj = Reshape(ct, joined) o = MatMul(cj, wo) r = Add(x, o)
    l2 = LayerNormalization<axis = -1>(r, g2, n2) m1 = MatMul(l2, w1) m2 = Add(m1, b1) a = Relu(m2) m3 = MatMul(a, w2) m4 = Add(m3, b2) y = Add(r, m4) }";

#[test]
#[ignore = "a measurement"]
fn steps_per_second() {
    let Some(library) = library() else { return };
    for (name, text) in [("mlp", MLP), ("cnn", CNN), ("transformer", TRANSFORMER)] {
        let model = parse(&text.replacen("g (", "<ir_version: 8, opset_import: [\"\" : 18]> g (", 1));
        let store = WeightStore::new(".");
        let weights = RandomWeights::new(&store, 1, Default::default());
        let loss = Loss::of(LossTerm::new(LossKind::SquaredError, "y", "target"));
        let optimizer = Optimizer::new(Rule::Adam(Moments::default()));
        let plan = TrainingPlan::new(&model, &loss, &optimizer, &weights, &PlanOptions::default()).unwrap();
        let n_nodes = plan.whole.graph.n_nodes();
        if let Some(folder) = std::env::var_os("EXPORT") {
            let path = std::path::Path::new(&folder).join(format!("{name}.whole.onnx"));
            save(&plan.whole.to_proto(), &path, &SaveOptions::new(&weights)).unwrap();
            let path = std::path::Path::new(&folder).join(format!("{name}.onnx"));
            let mut proto = model.to_proto();
            for tensor in &mut proto.graph.as_mut().unwrap().initializer {
                let bytes = onnxfit_onnx::TensorSource::tensor_bytes(&weights, tensor).unwrap();
                tensor.set_raw(bytes);
            }
            save(&proto, &path, &SaveOptions::new(&weights)).unwrap();
        }
        let mut runner = SessionRunner::new(library, &plan, &SessionSpec::default(), &weights).unwrap();
        runner.hold(true);
        let mut trainer = Trainer::new(plan, runner, 1 << 20).unwrap();
        let mut batch = Tensors::new();
        for (input, value) in [("x", "x"), ("target", "y")] {
            let id = model.graph.value_named(value).unwrap();
            let dims = model.graph.value(id).ty.as_tensor().unwrap().shape.clone().unwrap();
            let size = |dim: &onnxfit_graph::Dim| match dim {
                onnxfit_graph::Dim::Known(number) => *number as u64,
                _ => 1,
            };
            let shape: Vec<u64> = dims.iter().map(size).collect();
            let n: u64 = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|index| ((index * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
            batch.insert(input, Tensor::from_f32(shape, &values).unwrap());
        }
        for _ in 0..5 {
            trainer.step(&batch, 1e-3).unwrap();
        }
        let (started, mut n_steps) = (Instant::now(), 0);
        while started.elapsed().as_secs_f64() < 3.0 {
            trainer.step(&batch, 1e-3).unwrap();
            n_steps += 1;
        }
        println!("steps | {name} | {:.0} | {n_nodes} |", f64::from(n_steps) / started.elapsed().as_secs_f64());
    }
}
