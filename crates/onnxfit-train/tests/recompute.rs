//! Recomputing gives the same gradients with less memory.

mod common;

use std::time::Instant;

use common::{library, open, parse, relative_error};
use onnxfit_graph::Model;
use onnxfit_onnx::{RandomWeights, SaveOptions, TensorSource, WeightStore, save};
use onnxfit_runtime::{Library, Meter, Session, SessionSpec, Tensor, Tensors};
use onnxfit_shape::Bindings;
use onnxfit_train::{GradientOptions, Gradients, Recompute, differentiate, recompute, trainable_parameters};

/// A chain of convolutions and activations.
fn chain(depth: usize) -> Model {
    let weights: Vec<String> = (0..depth).map(|index| format!("float[8,8,3,3] w{index}")).collect();
    let mut body = String::new();
    let mut from = "x".to_owned();
    for index in 0..depth {
        body += &format!("h{index} = Conv<pads = [1,1,1,1]>({from}, w{index}) a{index} = Tanh(h{index})\n");
        from = format!("a{index}");
    }
    parse(&format!(
        "g (float[N,8,32,32] x) => (float loss) <{}> {{ {body} s = Mul({from}, {from}) loss = ReduceMean<keepdims = 0>(s) }}",
        weights.join(", ")
    ))
}

/// Residual blocks: values cross every cut twice within a block, once between blocks.
fn residual(depth: usize) -> Model {
    let weights: Vec<String> =
        (0..depth).map(|index| format!("float[32,64] u{index}, float[64,32] v{index}, float[32] g{index}")).collect();
    let mut body = String::new();
    let mut from = "x".to_owned();
    for index in 0..depth {
        body += &format!(
            "n{index} = LayerNormalization({from}, g{index}) p{index} = MatMul(n{index}, u{index}) a{index} = Gelu(p{index})
             q{index} = MatMul(a{index}, v{index}) y{index} = Add({from}, q{index})\n"
        );
        from = format!("y{index}");
    }
    parse(&format!(
        "g (float[N,64,32] x) => (float loss) <{}> {{ {body} s = Mul({from}, {from}) loss = ReduceMean<keepdims = 0>(s) }}",
        weights.join(", ")
    ))
}

fn feeds(model: &Model, weights: &dyn TensorSource, x: &[u64]) -> Tensors {
    let mut feeds = Tensors::new();
    let n: u64 = x.iter().product();
    let values: Vec<f32> = (0..n).map(|index| ((index * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
    feeds.insert("x", Tensor::from_f32(x.to_vec(), &values).unwrap());
    for id in model.graph.initializers() {
        let tensor = model.graph.value(*id).tensor().unwrap();
        let bytes = weights.tensor_bytes(tensor).unwrap().to_vec();
        let shape = tensor.dims.iter().map(|dim| *dim as u64).collect();
        feeds.insert(tensor.name(), Tensor::from_bytes(onnxfit_runtime::ElementType::Float, shape, bytes).unwrap());
    }
    feeds
}

/// The highest use of the arena in one run, and the fastest of a few runs.
fn measured(library: &'static Library, model: &Model, feeds: &Tensors) -> (u64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    save(&model.to_proto(), &path, &SaveOptions::new(&WeightStore::new("."))).unwrap();
    let spec = SessionSpec {
        meter: Meter::ArenaEachRun,
        mem_pattern: false,
        intra_op_threads: Some(1),
        ..SessionSpec::new(&path)
    };
    let mut session = Session::open(library, &spec).unwrap();
    let (mut peak, mut seconds) = (0, f64::INFINITY);
    for _ in 0..5 {
        session.take_trace();
        let started = Instant::now();
        session.run(feeds).unwrap();
        seconds = seconds.min(started.elapsed().as_secs_f64());
        let trace = session.take_trace().unwrap();
        peak = trace.peak_in_use.get();
    }
    (peak, seconds)
}

fn same_gradients(library: &'static Library, a: &Gradients, b: &Gradients, feeds: &Tensors) {
    let run = |model: &Model| open(library, model).unwrap().0.run(feeds).unwrap();
    let (first, second) = (run(&a.model), run(&b.model));
    for gradient in &a.gradients {
        let value = |tensors: &Tensors| tensors.get(&gradient.output).unwrap().values().unwrap();
        let error = relative_error(&value(&second), &value(&first));
        assert!(error < 1e-6, "{}: {error:.1e}", gradient.parameter);
    }
}

fn check(model: &Model, x: &[u64]) -> Option<(f64, f64, f64)> {
    let library = library()?;
    let store = WeightStore::new(".");
    let weights = RandomWeights::new(&store, 1, Default::default());
    let names = trainable_parameters(model);
    let parameters: Vec<&str> = names.iter().map(String::as_str).collect();
    let plain = differentiate(model, "loss", &parameters, &GradientOptions::default()).unwrap();
    let mut sizes = Bindings::default();
    sizes.dims.insert("N".to_owned(), x[0] as i64);
    let (again, report) = recompute(&plain, &sizes, Recompute::Smallest).unwrap().expect("something is gained");
    let feeds = feeds(model, &weights, x);
    same_gradients(library, &plain, &again, &feeds);
    let (before, seconds_before) = measured(library, &plain.model, &feeds);
    let (after, seconds_after) = measured(library, &again.model, &feeds);
    let (memory, time) = (after as f64 / before as f64, seconds_after / seconds_before);
    eprintln!(
        "{report:?}\nmeasured {before} -> {after} ({memory:.2}), time {seconds_before:.3} -> {seconds_after:.3} s ({time:.2})"
    );
    let predicted = report.kept_after_bytes.get() as f64 / report.kept_before_bytes.get() as f64;
    Some((memory, time, predicted))
}

#[test]
fn a_deep_chain_takes_half_the_memory() {
    let Some((memory, time, _)) = check(&chain(32), &[4, 8, 32, 32]) else { return };
    assert!(memory < 0.5, "{memory}");
    // Wide, because the tests around this one share the machine.
    assert!(time < 2.0, "{time}");
}

#[test]
fn residual_blocks_are_cut_between_them() {
    let Some((memory, _, _)) = check(&residual(12), &[16, 64, 32]) else { return };
    assert!(memory < 0.6, "{memory}");
}

#[test]
fn nothing_is_recomputed_when_it_fits() {
    let model = chain(4);
    let plain = differentiate(&model, "loss", &["w0", "w1", "w2", "w3"], &GradientOptions::default()).unwrap();
    let mut sizes = Bindings::default();
    sizes.dims.insert("N".to_owned(), 1);
    let wanted = Recompute::Within(onnxfit_base::Bytes::gib(1));
    assert!(recompute(&plain, &sizes, wanted).unwrap().is_none());
}

/// CPU time of this thread: other work on the machine does not count. With one thread a session
/// runs on its caller.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds / 1e9)
}

/// The middle one.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[test]
#[ignore = "a measurement"]
fn figures() {
    const N_TURNS: usize = 9;
    let Some(library) = library() else { return };
    let models: [(&str, Model, &[u64]); 3] = [
        ("32 convolutions in a chain", chain(32), &[16, 8, 32, 32]),
        ("64 convolutions in a chain", chain(64), &[16, 8, 32, 32]),
        ("12 residual blocks", residual(12), &[64, 64, 32]),
    ];
    for (name, model, x) in models {
        let store = WeightStore::new(".");
        let weights = RandomWeights::new(&store, 1, Default::default());
        let names = trainable_parameters(&model);
        let parameters: Vec<&str> = names.iter().map(String::as_str).collect();
        let plain = differentiate(&model, "loss", &parameters, &GradientOptions::default()).unwrap();
        let mut sizes = Bindings::default();
        sizes.dims.insert("N".to_owned(), x[0] as i64);
        let (again, report) = recompute(&plain, &sizes, Recompute::Smallest).unwrap().expect("something is gained");
        let feeds = feeds(&model, &weights, x);
        let (before, _) = measured(library, &plain.model, &feeds);
        let (after, _) = measured(library, &again.model, &feeds);
        let mut sessions = [&plain, &again].map(|gradients| open(library, &gradients.model).unwrap());
        let mut ratios = Vec::new();
        for _ in 0..N_TURNS {
            let seconds = sessions.each_mut().map(|(session, _)| {
                session.run(&feeds).unwrap();
                let from = cpu_seconds().unwrap();
                (0..3).for_each(|_| drop(session.run(&feeds).unwrap()));
                cpu_seconds().unwrap() - from
            });
            ratios.push(seconds[1] / seconds[0]);
        }
        println!(
            "figure | {name} | {:.2} | {:.2} | {:.0} % | {:.2} |",
            report.kept_after_bytes.get() as f64 / report.kept_before_bytes.get() as f64,
            after as f64 / before as f64,
            100.0 * report.repeated_share,
            median(ratios)
        );
    }
}
