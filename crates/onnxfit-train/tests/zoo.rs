//! Whole architectures against PyTorch's gradients, recorded in `data/zoo.json`.
//!
//! The graphs are in `../shared/zoo/graphs` beside the repository; without them the test is
//! skipped; the largest run only with `ONNXFIT_ZOO=all`. Weights and inputs are made up, as by `reference/zoo.py`. All sizes stay dynamic.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{library, open, read, tensor};
use onnxfit_graph::{Dim, Model};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{AttributeProto, NodeProto, TensorProto};
use onnxfit_runtime::{ElementType, Library, Tensor, Tensors};
use onnxfit_train::{GradientOptions, differentiate};
use serde_json::Value;

/// Single precision against PyTorch in double, relative to the largest entry of each gradient.
const TOLERANCE: f64 = 1e-4;
/// Gradients this much smaller than the largest are rounding noise: a softmax does not see the
/// bias of its keys, and PyTorch in single precision is off by 2e-3 where this is off by 4e-4.
const NOISE: f64 = 1e-4;

/// Larger models take too long for every run.
const N_WEIGHTS_MAX: i64 = 36_000_000;

fn graphs() -> PathBuf {
    let shared = std::env::var_os("ONNXFIT_SHARED").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    shared.unwrap_or(beside).join("zoo/graphs")
}

/// Numbers in [-1, 1) that only depend on the name and the place.
fn noise(name: &str, n: u64) -> impl Iterator<Item = f64> {
    let key =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (0..n).map(move |index| {
        let mut z = key.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// The bytes are written here, because only this package is optimized when it is tested.
fn weight(name: &str, dims: &[i64]) -> Tensor {
    let n = dims.iter().product::<i64>() as u64;
    let (offset, scale) = match dims {
        [] | [_] => (1.0, 0.1),
        [fan_in, _] => (0.0, (3.0 / *fan_in as f64).sqrt()),
        _ => (0.0, (3.0 / dims[1..].iter().product::<i64>() as f64).sqrt()),
    };
    let mut bytes = vec![0u8; 4 * n as usize];
    for (place, value) in bytes.chunks_exact_mut(4).zip(noise(name, n)) {
        place.copy_from_slice(&((offset + value * scale) as f32).to_le_bytes());
    }
    let shape = dims.iter().map(|dim| *dim as u64).collect();
    Tensor::from_bytes(ElementType::Float, shape, bytes).unwrap()
}

/// Norm and chosen entries of a gradient.
fn summary(tensor: &Tensor, places: &[usize]) -> (f64, Vec<f64>) {
    let number = |bytes: &[u8]| f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let bytes = tensor.bytes().unwrap();
    let square: f64 = bytes.chunks_exact(4).map(|bytes| number(bytes) * number(bytes)).sum();
    (square.sqrt(), places.iter().map(|place| number(&bytes[4 * place..])).collect())
}

fn fill(name: &str, element_type: DataType, shape: &[u64]) -> Tensor {
    let n = shape.iter().product();
    let ids = || noise(name, n).map(|value| ((value + 1.0) * 20.0).trunc()).collect::<Vec<f64>>();
    match element_type {
        DataType::Int64 if name.contains("mask") => tensor(ElementType::Int64, shape, &vec![1.0; n as usize]),
        DataType::Int64 => tensor(ElementType::Int64, shape, &ids()),
        DataType::Int32 => tensor(ElementType::Int32, shape, &ids()),
        _ => tensor(ElementType::Float, shape, &noise(name, n).collect::<Vec<f64>>()),
    }
}

/// The model with made-up weights and a loss, the names of those weights, and what to feed.
fn prepare(model: &Model, sizes: &Value) -> (Model, Vec<String>, Tensors) {
    let mut proto = model.to_proto();
    let graph = proto.graph.as_mut().unwrap();
    let (mut trained, mut feeds) = (Vec::new(), Tensors::new());
    for initializer in &mut graph.initializer {
        if !initializer.is_external() {
            continue;
        }
        let (name, dims) = (initializer.name().to_owned(), initializer.dims.clone());
        match initializer.element_type().unwrap() {
            // What is trained is fed, and needs no value in the model.
            DataType::Float if !dims.is_empty() => {
                feeds.insert(name.clone(), weight(&name, &dims));
                trained.push(name);
            }
            DataType::Float => {
                *initializer =
                    TensorProto::from_raw(&name, DataType::Float, &[], weight(&name, &[]).bytes().unwrap().to_vec())
            }
            other => {
                assert_eq!(other, DataType::Int64);
                let n = dims.iter().product::<i64>() as usize;
                *initializer = TensorProto::from_i64(&name, &dims, &vec![0; n]);
            }
        }
    }
    let node = |op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(op_type.to_owned()),
        attribute,
        ..NodeProto::default()
    };
    let keepdims = AttributeProto { name: Some("keepdims".into()), r#type: Some(2), i: Some(0), ..Default::default() };
    let output = graph.output[0].name().to_owned();
    graph.node.push(node("Mul", &[&output, &output], "squares of the output", vec![]));
    graph.node.push(node("ReduceMean", &["squares of the output"], "loss of the output", vec![keepdims]));
    let prepared = Model::from_proto(&proto).unwrap();
    for id in prepared.graph.required_inputs() {
        let value = prepared.graph.value(id);
        let ty = value.ty.as_tensor().unwrap();
        let size = |dim: &Dim| match dim {
            Dim::Known(number) => *number as u64,
            Dim::Symbol(name) => sizes[name].as_u64().unwrap_or_else(|| panic!("no size for {name}")),
            Dim::Unknown => panic!("a size without a name"),
        };
        let shape: Vec<u64> = ty.shape.as_ref().unwrap().iter().map(size).collect();
        feeds.insert(value.name.clone(), fill(&value.name, ty.element_type.unwrap(), &shape));
    }
    (prepared, trained, feeds)
}

struct Outcome {
    n_gradients: usize,
    worst: f64,
    worst_name: String,
}

fn compare(library: &'static Library, case: &Value) -> Option<Result<Outcome, String>> {
    let name = case["name"].as_str().unwrap();
    let model = read(&graphs().join(format!("{name}.onnx")))?;
    let n_weights: i64 = model
        .graph
        .initializers()
        .iter()
        .filter_map(|id| model.graph.value(*id).tensor())
        .map(|tensor| tensor.dims.iter().product::<i64>())
        .sum();
    if n_weights > N_WEIGHTS_MAX && std::env::var_os("ONNXFIT_ZOO").is_none() {
        eprintln!("{name} has {n_weights} weights: only with ONNXFIT_ZOO=all");
        return None;
    }
    let (prepared, trained, mut feeds) = prepare(&model, &case["sizes"]);
    let expected: BTreeMap<&str, Vec<f64>> = case["gradients"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, numbers)| {
            (name.as_str(), numbers.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect())
        })
        .collect();
    let parameters: Vec<&str> = trained.iter().map(String::as_str).collect();
    Some((|| {
        let made = differentiate(&prepared, "loss of the output", &parameters, &GradientOptions::default())
            .map_err(|error| error.to_string())?;
        let inputs: Vec<String> =
            made.model.graph.inputs().iter().map(|id| made.model.graph.value(*id).name.clone()).collect();
        feeds = feeds
            .iter()
            .filter(|(name, _)| inputs.iter().any(|input| input == name))
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        let (mut session, _folder) = open(library, &made.model).map_err(|error| error.to_string())?;
        let outputs = session.run(&feeds).map_err(|error| error.to_string())?;
        let loss = outputs.get(&made.loss).unwrap().values().unwrap()[0];
        let expected_loss = case["loss"].as_f64().unwrap();
        let mut outcome =
            Outcome { n_gradients: 0, worst: (loss / expected_loss - 1.0).abs(), worst_name: "loss".to_owned() };
        let largest = expected.values().map(|numbers| numbers[1]).fold(0.0, f64::max);
        for gradient in &made.gradients {
            let Some(numbers) = expected.get(gradient.parameter.as_str()) else {
                return Err(format!("PyTorch has no gradient of {}", gradient.parameter));
            };
            let found = outputs.get(&gradient.output).unwrap();
            let n = found.len() as usize;
            let mut places: Vec<usize> = (0..6).map(|k| (k * 7919 + 13) % n).collect();
            places.sort_unstable();
            places.dedup();
            let (norm, entries) = summary(found, &places);
            let scale = numbers[1].max(NOISE * largest);
            let norm_scale = numbers[0].max(scale * (n as f64).sqrt());
            let mut error = (norm - numbers[0]).abs() / norm_scale;
            for (entry, number) in entries.into_iter().zip(&numbers[2..]) {
                error = error.max((entry - number).abs() / scale);
            }
            outcome.n_gradients += 1;
            if error > outcome.worst || error.is_nan() {
                outcome.worst = if error.is_nan() { f64::INFINITY } else { error };
                outcome.worst_name = gradient.parameter.clone();
            }
        }
        if outcome.n_gradients != expected.len() {
            return Err(format!(
                "{} gradients, PyTorch has {}; cut off: {:?}",
                outcome.n_gradients,
                expected.len(),
                made.cut_off
            ));
        }
        Ok(outcome)
    })())
}

#[test]
fn whole_architectures_have_the_gradients_that_pytorch_gives() {
    let Some(library) = library() else { return };
    let only = std::env::var("ONLY").unwrap_or_default();
    let all: Value = serde_json::from_str(include_str!("data/zoo.json")).unwrap();
    let mut failures = Vec::new();
    let mut n_compared = 0;
    for case in all.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if !name.contains(&only) {
            continue;
        }
        let started = std::time::Instant::now();
        match compare(library, case) {
            None => eprintln!("skipped {name} (graphs are looked for in {})", graphs().display()),
            Some(Err(error)) => failures.push(format!("{name}: {error}")),
            Some(Ok(outcome)) => {
                n_compared += 1;
                let Outcome { n_gradients, worst, worst_name } = outcome;
                let seconds = started.elapsed().as_secs_f64();
                eprintln!("{name}: {n_gradients} gradients, worst {worst:.1e} ({worst_name}), {seconds:.1} s");
                if worst > TOLERANCE {
                    failures.push(format!("{name}: {worst:.1e} ({worst_name})"));
                }
            }
        }
    }
    eprintln!("{n_compared} architectures compared");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
