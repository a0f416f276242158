//! Optimizers against PyTorch's (`reference/optimizers.py`), and what happens around a step.

mod common;

use common::{library, open, parse, relative_error, tensor};
use onnxfit_graph::{Dim, ValueType};
use onnxfit_onnx::{DataType, WeightStore};
use onnxfit_runtime::{ElementType, SessionSpec, Tensor, Tensors};
use onnxfit_train::{
    BatchNorm, GradientOptions, Loss, LossKind, LossTerm, Moments, Optimizer, PlanOptions, Rule, SessionRunner,
    Trainer, TrainingPlan,
};

const START: [&[f64]; 2] = [&[1.0, -2.0, 0.5, 3.0], &[0.25, -0.75]];
const GRADIENTS: [[&[f64]; 2]; 3] = [
    [&[0.5, -1.0, 0.25, 2.0], &[1.5, -0.5]],
    [&[-0.5, 1.0, 0.75, 1.0], &[0.5, 0.25]],
    [&[0.1, 0.2, -0.3, 0.4], &[0.0, -1.0]],
];

fn three_steps(optimizer: &Optimizer) -> Option<Vec<Vec<f64>>> {
    let library = library()?;
    let ty = |n: i64| ValueType::tensor(DataType::Float, vec![Dim::Known(n)]);
    let parameters = [("a".to_owned(), "da".to_owned(), ty(4)), ("b".to_owned(), "db".to_owned(), ty(2))];
    let update = optimizer.update(&parameters).unwrap();
    let (mut session, _folder) = open(library, &update.model).unwrap();
    let vector = |values: &[f64]| tensor(ElementType::Float, &[values.len() as u64], values);
    let mut feeds = Tensors::new();
    for (names, start) in update.parameters.iter().zip(START) {
        feeds.insert(&names.parameter, vector(start));
        names.states.iter().for_each(|(state, _)| feeds.insert(state, vector(&vec![0.0; start.len()])));
    }
    for (step, gradients) in GRADIENTS.iter().enumerate() {
        // Gradients come four times too large, as from a scaled loss.
        for (name, gradient) in ["da", "db"].iter().zip(gradients) {
            feeds.insert(*name, vector(&gradient.iter().map(|value| value * 4.0).collect::<Vec<_>>()));
        }
        for (name, value) in optimizer.scalars(step as u64, 0.1, 0.25) {
            feeds.insert(name, tensor(ElementType::Float, &[], &[value]));
        }
        let outputs = session.run(&feeds).unwrap();
        for names in &update.parameters {
            feeds.insert(&names.parameter, outputs.get(&names.next).unwrap().clone());
            for (state, next) in &names.states {
                feeds.insert(state, outputs.get(next).unwrap().clone());
            }
        }
    }
    Some(["a", "b"].iter().map(|name| feeds.get(name).unwrap().values().unwrap()).collect())
}

#[test]
fn optimizers_make_the_steps_that_pytorch_makes() {
    let plain = |rule| Optimizer::new(rule);
    let sgd = |momentum, is_nesterov| Rule::Sgd { momentum, is_nesterov };
    let cases: [(&str, Optimizer, [&[f64]; 2]); 5] = [
        ("sgd", plain(sgd(0.0, false)), [&[0.99, -2.02, 0.43, 2.66], &[0.05, -0.625]]),
        (
            "momentum",
            Optimizer { weight_decay: 0.01, ..plain(sgd(0.9, false)) },
            [&[0.944034749, -1.928069498, 0.317117374, 2.212044197], &[-0.25228145, -0.557961049]],
        ),
        (
            "nesterov",
            Optimizer { gradient_norm_max: Some(1.0), ..plain(sgd(0.9, true)) },
            [&[0.998467564, -2.063591479, 0.404257426, 2.533968265], &[-0.011206372, -0.560165608]],
        ),
        (
            "adam",
            Optimizer { weight_decay: 0.01, ..plain(Rule::Adam(Moments::default())) },
            [&[0.896203627, -1.913963079, 0.263793774, 2.72379808], &[-0.004500232, -0.555398212]],
        ),
        (
            "adamw",
            Optimizer { weight_decay: 0.1, gradient_norm_max: Some(1.0), ..plain(Rule::AdamW(Moments::default())) },
            [&[0.903171165, -1.905878783, 0.277287723, 2.620993829], &[-0.021121394, -0.560317206]],
        ),
    ];
    for (name, optimizer, expected) in cases {
        let Some(found) = three_steps(&optimizer) else { return };
        for (found, expected) in found.iter().zip(expected) {
            let error = relative_error(found, expected);
            assert!(error < 1e-6, "{name}: {found:?} != {expected:?} ({error:.1e})");
        }
    }
}

fn trainer(text: &str, loss: LossTerm, options: &PlanOptions) -> Option<Trainer<SessionRunner>> {
    let library = library()?;
    let store = WeightStore::new(".");
    let optimizer = Optimizer::new(Rule::Sgd { momentum: 0.0, is_nesterov: false });
    let plan = TrainingPlan::new(&parse(text), &Loss::of(loss), &optimizer, &store, options).unwrap();
    let spec = SessionSpec { intra_op_threads: Some(1), ..SessionSpec::default() };
    let runner = SessionRunner::new(library, &plan, &spec, &store).unwrap();
    Some(Trainer::new(plan, runner, 64).unwrap())
}

#[test]
fn stored_statistics_follow_the_batch() {
    let text = "g (float[N,2] x) => (float[N,2] y) <float[2] g = {1, 1}, float[2] b = {0, 0}, float[2] m = {0, 0}, float[2] v = {1, 1}>
        { y = BatchNormalization<momentum = 0.9>(x, g, b, m, v) }";
    let gradient = GradientOptions { batch_norm: BatchNorm::Training, ..GradientOptions::default() };
    let options = PlanOptions { gradient, ..PlanOptions::default() };
    let term = LossTerm::new(LossKind::SquaredError, "y", "target");
    let Some(mut trainer) = trainer(text, term, &options) else { return };
    let mut batch = Tensors::new();
    batch.insert("x", Tensor::from_f32(vec![4, 2], &[1.0, 0.0, 3.0, 0.0, 5.0, 2.0, 7.0, 2.0]).unwrap());
    batch.insert("target", Tensor::from_f32(vec![4, 2], &[0.0; 8]).unwrap());
    trainer.step(&batch, 0.1).unwrap();
    let value = |name: &str| trainer.parameters()[name].values().unwrap();
    // Means 4 and 1, variances 5 and 1; a tenth of the way from 0 and 1.
    assert!(relative_error(&value("m"), &[0.4, 0.1]) < 1e-6, "{:?}", value("m"));
    assert!(relative_error(&value("v"), &[1.4, 1.0]) < 1e-6, "{:?}", value("v"));
}

#[test]
fn a_loss_that_is_no_number_changes_nothing() {
    let text = "g (float[N] x) => (float[N] y) <float[1] w = {2}> { y = Mul(x, w) }";
    let term = || LossTerm::new(LossKind::SquaredError, "y", "target");
    let Some(mut trainer) = trainer(text, term(), &PlanOptions::default()) else { return };
    let mut batch = Tensors::new();
    batch.insert("x", Tensor::from_f32(vec![2], &[1.0, f32::NAN]).unwrap());
    batch.insert("target", Tensor::from_f32(vec![2], &[0.0; 2]).unwrap());
    let error = trainer.step(&batch, 0.1).unwrap_err();
    assert_eq!(error.to_string(), "the loss of step 0 is NaN; the parameters are as they were before it");
    assert_eq!(trainer.parameters()["w"].values().unwrap(), [2.0]);
}

#[test]
fn gradients_out_of_range_are_scaled_into_it() {
    // On a CPU half precision is computed in single precision, so this overflows single precision:
    // the square of a gradient of 4e15, a million times too large, is past 3e38.
    let text = "g (float[N] x) => (float[N] y) <float[1] w = {2}> { y = Mul(x, w) }";
    let term = LossTerm::new(LossKind::SquaredError, "y", "target");
    let options = PlanOptions { loss_scale: Some(1_048_576.0), ..PlanOptions::default() };
    let Some(mut trainer) = trainer(text, term, &options) else { return };
    let mut batch = Tensors::new();
    batch.insert("x", Tensor::from_f32(vec![2], &[3e7, 3e7]).unwrap());
    batch.insert("target", Tensor::from_f32(vec![2], &[0.0; 2]).unwrap());
    let report = trainer.step(&batch, 1.0 / 3.6e15).unwrap();
    assert!(report.n_retries > 0, "{report:?}");
    assert!(relative_error(&trainer.parameters()["w"].values().unwrap(), &[1.0]) < 1e-6);
}
