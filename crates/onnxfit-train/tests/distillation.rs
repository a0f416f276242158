//! A student that learns from a teacher in the same graph learns what it would from its answers.

mod common;

use common::{library, open, parse, relative_error};
use onnxfit_onnx::{RandomWeights, WeightStore};
use onnxfit_runtime::{SessionSpec, Tensor, Tensors};
use onnxfit_train::{
    JoinedWeights, Loss, LossKind, LossTerm, Moments, Optimizer, Per, PlanOptions, Rule, SessionRunner, TEACHER,
    Trainer, TrainingPlan, join, trainable_parameters,
};

const TEACHER_MODEL: &str = "g (float[N,8] x) => (float[N,5] logits) <float[8,32] u, float[32,5] v> {
    a = MatMul(x, u) h = Tanh(a) b = MatMul(h, v) k = Constant<value = float {20.0}>() logits = Mul(b, k) }";
const STUDENT_MODEL: &str =
    "g (float[N,8] x) => (float[N,5] logits) <float[8,6] u, float[6,5] v, float[6,32] project> {
    a = MatMul(x, u) h = Tanh(a) p = MatMul(h, project) logits = MatMul(h, v) }";

fn batch() -> Tensors {
    let mut batch = Tensors::new();
    let values: Vec<f32> = (0..32 * 8).map(|index| ((index * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
    batch.insert("x", Tensor::from_f32(vec![32, 8], &values).unwrap());
    batch.insert("labels", Tensor::from_i64(vec![32], &(0..32).map(|index| index % 5).collect::<Vec<_>>()).unwrap());
    batch
}

fn loss(target: &str, features: Option<&str>) -> Loss {
    let term = |kind, value: &str, target: &str, weight| LossTerm {
        weight,
        per: Per::Sample,
        ..LossTerm::new(kind, value, target)
    };
    let mut terms = vec![
        term(LossKind::Divergence { temperature: 3.0 }, "logits", target, 0.7),
        term(LossKind::CrossEntropy { class_axis: 1, ignore_index: None }, "logits", "labels", 0.3),
    ];
    terms.extend(features.map(|features| term(LossKind::SquaredError, "p", features, 0.05)));
    Loss { terms }
}

#[test]
fn a_student_learns_from_a_teacher_beside_it() {
    let Some(library) = library() else { return };
    let (teacher, student) = (parse(TEACHER_MODEL), parse(STUDENT_MODEL));
    let store = WeightStore::new(".");
    let role = onnxfit_onnx::WeightRole::Uniform { low: -0.5, high: 0.5 };
    let roles = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), role)).collect();
    let teacher_weights = RandomWeights::new(&store, 1, roles(&["teacher/u", "teacher/v"]));
    let student_weights = RandomWeights::new(&store, 2, roles(&["u", "v", "project"]));
    let weights = JoinedWeights { teacher: &teacher_weights, student: &student_weights };
    let joined = join(&teacher, &student).unwrap();
    let optimizer = Optimizer::new(Rule::Adam(Moments::default()));
    let parameters = trainable_parameters(&student);
    let spec = SessionSpec { intra_op_threads: Some(1), ..SessionSpec::default() };
    let options = PlanOptions { parameters: parameters.clone(), ..PlanOptions::default() };
    let train = |model: &onnxfit_graph::Model, loss: &Loss, batch: &Tensors, micro_batch: u64, n_steps: u64| {
        let plan = TrainingPlan::new(model, loss, &optimizer, &weights, &options).unwrap();
        let runner = SessionRunner::new(library, &plan, &spec, &weights).unwrap();
        let mut trainer = Trainer::new(plan, runner, micro_batch).unwrap();
        let losses: Vec<f64> = (0..n_steps).map(|_| trainer.step(batch, 0.01).unwrap().loss).collect();
        (trainer.parameters().clone(), losses)
    };
    let beside = loss(&format!("{TEACHER}logits"), Some(&format!("{TEACHER}h")));
    let (_, losses) = train(&joined, &beside, &batch(), 32, 200);
    assert!(losses[199] < 0.7 * losses[0], "{} -> {}", losses[0], losses[199]);

    // The teacher's answers, written down, teach the same; in parts too.
    let (from_graph, _) = train(&joined, &loss(&format!("{TEACHER}logits"), None), &batch(), 32, 5);
    let mut cached = batch();
    let teacher_alone = {
        let mut proto = joined.to_proto();
        let graph = proto.graph.as_mut().unwrap();
        graph.output[0].name = Some(format!("{TEACHER}logits"));
        for tensor in &mut graph.initializer {
            if tensor.is_external() {
                let bytes = onnxfit_onnx::TensorSource::tensor_bytes(&weights, tensor).unwrap();
                tensor.set_raw(bytes);
            }
        }
        onnxfit_graph::Model::from_proto(&proto).unwrap()
    };
    let mut inputs = Tensors::new();
    inputs.insert("x", cached.get("x").unwrap().clone());
    let answers = open(library, &teacher_alone).unwrap().0.run(&inputs).unwrap();
    cached.insert("answers", answers.iter().next().unwrap().1.clone());
    let (from_cache, _) = train(&student, &loss("answers", None), &cached, 7, 5);
    for name in ["u", "v"] {
        let error = relative_error(&from_cache[name].values().unwrap(), &from_graph[name].values().unwrap());
        eprintln!("{name}: {error:.1e}");
        assert!(error < 1e-5, "{name}: {error:.1e}");
    }
}
