//! A step that runs out of memory is redone with smaller parts: no sample is lost or counted twice.

mod common;

use common::{library, parse};
use onnxfit_base::Bytes;
use onnxfit_onnx::WeightStore;
use onnxfit_runtime::{ArenaConfig, ArenaExtend, RunError, SessionSpec, Stage, Tensor, Tensors};
use onnxfit_train::{
    Loss, LossKind, LossTerm, Optimizer, Part, PlanOptions, Rule, SessionRunner, StepRunner, Trainer, TrainingPlan,
};
use proptest::prelude::*;

fn sgd() -> Optimizer {
    Optimizer::new(Rule::Sgd { momentum: 0.0, is_nesterov: false })
}

fn plan(text: &str, loss: LossTerm) -> TrainingPlan {
    TrainingPlan::new(&parse(text), &Loss::of(loss), &sgd(), &WeightStore::new("."), &PlanOptions::default()).unwrap()
}

/// Pretends to run `mean(x w)`: the gradient of `w` is the sum of what was fed, and a run of more
/// samples than the memory of the moment holds fails.
struct Pretender {
    capacities: Vec<u64>,
    n_runs: usize,
}

impl Pretender {
    fn room_for(&mut self, n_samples: u64) -> Result<(), RunError> {
        let capacity = self.capacities[self.n_runs % self.capacities.len()];
        self.n_runs += 1;
        if n_samples > capacity {
            let message = "Failed to allocate memory for requested buffer of size 1024";
            let error = RunError::from_message(Stage::Run, message);
            assert!(error.is_out_of_memory());
            return Err(error);
        }
        Ok(())
    }
}

fn sum(tensor: &Tensor) -> f64 {
    tensor.values().unwrap().iter().sum()
}

fn one(value: f64) -> Tensor {
    Tensor::from_f32(vec![1], &[value as f32]).unwrap()
}

impl StepRunner for Pretender {
    fn run(&mut self, part: Part, inputs: &[(&str, &Tensor)]) -> Result<Tensors, RunError> {
        let get = |name: &str| inputs.iter().find(|(other, _)| *other == name).map(|(_, tensor)| *tensor);
        let scale = inputs.iter().find(|(name, _)| name.ends_with("/scale")).map_or(1.0, |(_, tensor)| sum(tensor));
        let mut outputs = Tensors::new();
        if part == Part::Count {
            let (name, n) = ("count", get("x").unwrap().shape()[0]);
            outputs.insert(name, one(n as f64));
            return Ok(outputs);
        }
        if let Some(x) = get("x") {
            self.room_for(x.shape()[0])?;
            let gradient = sum(x) * scale;
            let before = get("w/sum").map_or(0.0, sum);
            outputs.insert("w/gradient", one(before + gradient));
            outputs.insert("loss", one(0.0));
            if part == Part::Whole {
                outputs.insert("w/next", one(sum(get("w").unwrap()) - gradient));
                outputs.insert("optimizer/gradient_norm", one(gradient.abs()));
            }
            return Ok(outputs);
        }
        let gradient = sum(get("w/gradient").unwrap());
        outputs.insert("w/next", one(sum(get("w").unwrap()) - gradient));
        outputs.insert("optimizer/gradient_norm", one(gradient.abs()));
        Ok(outputs)
    }
}

proptest! {
    #[test]
    fn whatever_runs_out_of_memory_every_sample_counts_once(
        n_samples in 1u64..50,
        micro_batch in 1u64..64,
        mut capacities in prop::collection::vec(1u64..40, 1..8),
        n_steps in 1usize..4,
    ) {
        // One sample always fits, or the step could not be made at all.
        capacities.push(1);
        let text = "g (float[N] x) => (float y) <float[1] w = {0}> { p = Mul(x, w) y = ReduceSum<keepdims = 0>(p) }";
        let mut term = LossTerm::new(LossKind::Mean, "y", "x");
        term.per = onnxfit_train::Per::Sample;
        let mut plan = plan(text, term);
        // Counts by samples, so that the pretender need not know how the graph counts.
        plan.counting = None;
        plan.terms.iter_mut().for_each(|term| term.count = None);
        plan.gradients.loss = "loss".to_owned();
        let runner = Pretender { capacities, n_runs: 0 };
        let mut trainer = Trainer::new(plan, runner, micro_batch).unwrap();
        // Different samples, so that one counted twice cannot stand in for one that was lost.
        let samples: Vec<f32> = (0..n_samples).map(|index| (index % 16 + 1) as f32).collect();
        let total: f64 = samples.iter().map(|value| f64::from(*value)).sum();
        let mut batch = Tensors::new();
        batch.insert("x", Tensor::from_f32(vec![n_samples], &samples).unwrap());
        for step in 1..=n_steps {
            let report = trainer.step(&batch, 1.0).unwrap();
            let w = sum(&trainer.parameters()["w"]);
            let expected = -(step as f64) * total / n_samples as f64;
            prop_assert!((w - expected).abs() < 1e-4 * expected.abs(), "{w} != {expected}: {report:?}");
        }
    }
}

#[test]
fn one_sample_that_does_not_fit_is_an_error_and_changes_nothing() {
    let text = "g (float[N] x) => (float y) <float[1] w = {3}> { p = Mul(x, w) y = ReduceSum<keepdims = 0>(p) }";
    let plan = plan(text, LossTerm::new(LossKind::Mean, "y", "x"));
    let counting = plan.counting.clone();
    assert!(counting.is_some());
    let mut plan = plan;
    plan.counting = None;
    plan.terms.iter_mut().for_each(|term| term.count = None);
    let mut trainer = Trainer::new(plan, Pretender { capacities: vec![0], n_runs: 0 }, 8).unwrap();
    let mut batch = Tensors::new();
    batch.insert("x", Tensor::from_f32(vec![4], &[1.0; 4]).unwrap());
    let error = trainer.step(&batch, 1.0).unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    assert_eq!(sum(&trainer.parameters()["w"]), 3.0);
    assert_eq!(trainer.n_steps(), 0);
}

const CNN: &str = "g (float[N,1,32,32] x) => (float[N,4] y) <float[16,1,3,3] c1, float[16,16,3,3] c2, float[16,4] w> {
    h1 = Conv<pads = [1,1,1,1]>(x, c1) r1 = Relu(h1) h2 = Conv<pads = [1,1,1,1]>(r1, c2) r2 = Relu(h2)
    g = GlobalAveragePool(r2) f = Flatten(g) y = MatMul(f, w)
}";

#[test]
fn a_full_arena_only_makes_the_parts_smaller() {
    let Some(library) = library() else { return };
    let train = |limit: Option<Bytes>| {
        let store = WeightStore::new(".");
        let weights = onnxfit_onnx::RandomWeights::new(&store, 1, Default::default());
        let loss = Loss::of(LossTerm::new(LossKind::CrossEntropy { class_axis: 1, ignore_index: None }, "y", "labels"));
        let plan = TrainingPlan::new(&parse(CNN), &loss, &sgd(), &weights, &PlanOptions::default()).unwrap();
        let arena = limit.map(|limit| ArenaConfig {
            limit: Some(limit),
            extend: Some(ArenaExtend::Same),
            ..ArenaConfig::default()
        });
        let spec = SessionSpec { intra_op_threads: Some(1), cpu_arena: arena, ..SessionSpec::default() };
        let runner = SessionRunner::new(library, &plan, &spec, &weights).unwrap();
        let mut trainer = Trainer::new(plan, runner, 64).unwrap();
        let mut batch = Tensors::new();
        let pixels: Vec<f32> = (0..64 * 1024).map(|index| ((index * 7919) % 1009) as f32 / 30.0).collect();
        batch.insert("x", Tensor::from_f32(vec![64, 1, 32, 32], &pixels).unwrap());
        batch
            .insert("labels", Tensor::from_i64(vec![64], &(0..64).map(|index| index % 3).collect::<Vec<_>>()).unwrap());
        let reports: Vec<_> = (0..3).map(|_| trainer.step(&batch, 0.1).unwrap()).collect();
        (trainer.parameters().clone(), reports)
    };
    let (free, unlimited) = train(None);
    assert!(unlimited[2].loss < unlimited[0].loss - 1e-3, "it does not learn: {unlimited:?}");
    let (limited, reports) = train(Some(Bytes::mib(12)));
    eprintln!("{reports:?}");
    // It really ran out of memory, and only once had to learn what fits.
    assert!(reports[0].n_retries > 0 && reports[0].micro_batch < 64, "{reports:?}");
    assert_eq!(reports[2].n_retries, 0);
    for (name, tensor) in &free {
        let error = common::relative_error(&limited[name].values().unwrap(), &tensor.values().unwrap());
        assert!(error < 1e-6, "{name}: {error:.1e}");
    }
}
