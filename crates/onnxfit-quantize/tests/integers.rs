//! Models on integers against the originals, in the real ONNX Runtime where there is one: answers,
//! and the kernels that it makes of them.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{ModelProto, TensorProto, ValueInfoProto};
use onnxfit_onnx::{DataType, ModelFile, SaveOptions, WeightStore, save, text};
use onnxfit_quantize::dynamic::{Dynamic, DynamicOptions};
use onnxfit_quantize::qdq::{Qdq, QdqOptions};
use onnxfit_quantize::ranges::{Method, Observers};
use onnxfit_quantize::{Choice, IntType, Level, Symmetry, equalize, fold_normalizations, prepare};
use onnxfit_runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::{ElementType, Library, OptimizationLevel, Session, SessionSpec, Tensors, locate};

/// Convolutions of all kinds, a normalization, a clip, a residual sum, pools and a classifier.
const IMAGES: &str = "
    g (float[2,3,16,16] x) => (float[2,10] y)
    <float[8,3,3,3] w1, float[8] scale, float[8] shift, float[8] mean, float[8] variance,
     float[8,1,3,3] w2, float[8] b2, float[8,8,1,1] w3, float[8] b3, float[10,8] w4, float[10] b4> {
        c1 = Conv<pads = [1,1,1,1]>(x, w1)
        n1 = BatchNormalization(c1, scale, shift, mean, variance)
        r1 = Relu(n1)
        c2 = Conv<pads = [1,1,1,1], group = 8>(r1, w2, b2)
        r2 = Relu(c2)
        c3 = Conv(r2, w3, b3)
        sum = Add(c3, r1)
        pooled = MaxPool<kernel_shape = [2,2], strides = [2,2]>(sum)
        one = GlobalAveragePool(pooled)
        flat = Flatten(one)
        y = Gemm<transB = 1>(flat, w4, b4)
    }";

/// A table, products of weights and of values, a softmax.
const WORDS: &str = "
    g (int64[2,6] ids) => (float[2,6,16] y)
    <float[50,16] table, float[16,16] wq, float[16,16] wk, float[16] bq, float[16,16] wv> {
        e = Gather(table, ids)
        q0 = MatMul(e, wq)
        q = Add(q0, bq)
        k = MatMul(e, wk)
        kt = Transpose<perm = [0,2,1]>(k)
        scores = MatMul(q, kt)
        shares = Softmax<axis = -1>(scores)
        v = MatMul(e, wv)
        y = MatMul(shares, v)
    }";

fn with_header(opset: i64, graph: &str) -> String {
    format!("<ir_version: 8, opset_import: [\"\": {opset}]>\n{graph}")
}

fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

/// A model with noise for weights; variances are positive.
fn model(text: &str) -> Model {
    let mut proto: ModelProto = text::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let mut state = 7u32;
    for tensor in &mut proto.graph.as_mut().unwrap().initializer {
        if tensor.element_type().unwrap() != DataType::Float || !tensor.float_data.is_empty() {
            continue;
        }
        let positive = tensor.name() == "variance";
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            if positive { number.abs() + 0.1 } else { number }
        };
        let numbers: Vec<f32> = (0..tensor.n_elements().unwrap()).map(|_| noise()).collect();
        *tensor = TensorProto::from_f32(tensor.name(), &tensor.dims, &numbers);
    }
    Model::from_proto(&proto).unwrap()
}

fn inputs(model: &Model, seed: u64) -> Tensors {
    let graph = &model.graph;
    let specs: Vec<InputSpec> = graph
        .required_inputs()
        .map(|id| {
            let value = graph.value(id);
            let ty = value.ty.as_tensor().unwrap();
            let shape = ty.shape.clone().unwrap_or_default().into_iter().map(|dim| match dim {
                onnxfit_graph::Dim::Known(size) => size,
                _ => 1,
            });
            InputSpec {
                name: value.name.clone(),
                element_type: ElementType::from_onnx(ty.element_type.unwrap().number()).unwrap(),
                shape: shape.collect(),
                role: None,
            }
        })
        .collect();
    make(&specs, InputOptions { seed, vocab_size: Some(50) }).unwrap()
}

fn write(proto: &ModelProto, folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    save(proto, &path, &SaveOptions::new(&WeightStore::new(""))).unwrap();
    path
}

fn run(library: &'static Library, model: &Model, fed: &Tensors) -> Tensors {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&model.to_proto(), folder.path(), "model.onnx");
    Session::open(library, &SessionSpec::new(&path)).unwrap().run(fed).unwrap()
}

/// The operators in the graph that ONNX Runtime runs, with their number.
fn kernels(library: &'static Library, model: &Model) -> BTreeMap<String, usize> {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&model.to_proto(), folder.path(), "model.onnx");
    let optimized = folder.path().join("optimized.onnx");
    let spec = SessionSpec { optimized_model: Some(optimized.clone()), ..SessionSpec::new(&path) };
    drop(Session::open(library, &spec).unwrap());
    let model = Model::from_proto(&ModelFile::open(&optimized).unwrap().proto).unwrap();
    let mut kernels = BTreeMap::new();
    for (_, node) in model.graph.nodes() {
        *kernels.entry(node.op_type.clone()).or_default() += 1;
        for (_, body) in node.subgraphs() {
            for (_, inner) in body.nodes() {
                *kernels.entry(inner.op_type.clone()).or_default() += 1;
            }
        }
    }
    kernels
}

fn ready(model: &Model) -> Model {
    let source = WeightStore::new("");
    let prepared = prepare(model, &source).unwrap().model;
    fold_normalizations(&prepared, &source).unwrap().0
}

/// What the values of a model are for a few inputs.
fn seen(library: &'static Library, model: &Model, qdq: &Qdq<'_>) -> Observers {
    let folder = tempfile::tempdir().unwrap();
    let mut proto = model.to_proto();
    let values = qdq.values();
    let graph = proto.graph.as_mut().unwrap();
    let is_input = |name: &String| graph.input.iter().any(|input| input.name() == name);
    graph.output = values
        .iter()
        .filter(|name| !is_input(name))
        .map(|name| ValueInfoProto { name: Some(name.clone()), ..Default::default() })
        .collect();
    let path = write(&proto, folder.path(), "values.onnx");
    let spec = SessionSpec { optimization: OptimizationLevel::Disable, ..SessionSpec::new(&path) };
    let mut session = Session::open(library, &spec).unwrap();
    let mut observers = Observers::new(Method::MinMax);
    for seed in 0..4 {
        let fed = inputs(model, seed);
        for (name, tensor) in session.run(&fed).unwrap().iter().chain(fed.iter()) {
            if values.contains(name) && tensor.element_type() == ElementType::Float {
                let numbers: Vec<f32> = tensor.values().unwrap().iter().map(|number| *number as f32).collect();
                observers.observe(name, &numbers);
            }
        }
    }
    observers
}

fn all_small(layers: &[onnxfit_quantize::Layer]) -> Choice {
    layers.iter().map(|layer| (layer.name.clone(), Level::Int8)).collect()
}

fn quantized(library: &'static Library, model: &Model, options: QdqOptions) -> Model {
    let source = WeightStore::new("");
    let ready = ready(model);
    let qdq = Qdq::new(&ready, &source, options);
    let ranges = seen(library, &ready, &qdq).ranges(256);
    qdq.build(&all_small(qdq.layers()), &ranges).unwrap().model
}

/// The worst relative L2 of the answers for inputs that no range was measured on.
fn distance(library: &'static Library, before: &Model, after: &Model) -> f64 {
    let fed = inputs(before, 99);
    let compared = compare(&run(library, before, &fed), &run(library, after, &fed), Exactness::Quantized);
    compared.outputs.iter().map(|output| output.relative_l2).fold(0.0, f64::max)
}

fn names(kernels: &BTreeMap<String, usize>) -> Vec<(&str, usize)> {
    kernels.iter().map(|(name, n)| (name.as_str(), *n)).collect()
}

#[test]
fn a_network_for_images_runs_on_integers_from_end_to_end() {
    let Some(library) = library() else { return };
    let float = model(&with_header(17, IMAGES));
    let small = quantized(library, &float, QdqOptions::default());
    let off = distance(library, &float, &small);
    assert!(off < 0.05, "{off}");
    let kernels = kernels(library, &small);
    assert_eq!(
        names(&kernels),
        [
            ("Flatten", 1),
            ("NhwcMaxPool", 1),
            ("QGemm", 1),
            ("QLinearAdd", 1),
            ("QLinearConv", 3),
            ("QLinearGlobalAveragePool", 1),
            ("QuantizeLinear", 1),
            ("Transpose", 2)
        ]
    );
}

#[test]
fn models_older_than_axes_of_quantization_run_on_integers_too() {
    let Some(library) = library() else { return };
    let float = model(&with_header(12, IMAGES));
    let small = quantized(library, &float, QdqOptions::default());
    let off = distance(library, &float, &small);
    assert!(off < 0.05, "{off}");
    let kernels = kernels(library, &small);
    assert_eq!((kernels.get("QLinearConv"), kernels.get("QGemm")), (Some(&3), Some(&1)), "{kernels:?}");
}

#[test]
fn attention_runs_on_integers_and_its_table_stays_integers() {
    let Some(library) = library() else { return };
    let float = model(&with_header(17, WORDS));
    let small = quantized(library, &float, QdqOptions::default());
    let off = distance(library, &float, &small);
    assert!(off < 0.08, "{off}");
    let kernels = kernels(library, &small);
    assert_eq!(kernels.get("QLinearMatMul"), Some(&4), "{kernels:?}");
    assert_eq!(kernels.get("QLinearSoftmax"), Some(&1), "{kernels:?}");
    let table = small.graph.value_named("table_quantized").map(|id| small.graph.value(id).tensor().unwrap().clone());
    assert_eq!(table.unwrap().element_type().unwrap(), DataType::Int8);
    assert!(small.graph.value_named("table").is_none());
}

#[test]
fn symmetric_signed_and_wide_values_and_whole_tensor_scales_answer_alike() {
    let Some(library) = library() else { return };
    let float = model(&with_header(17, IMAGES));
    let of = |options| distance(library, &float, &quantized(library, &float, options));
    let symmetric =
        QdqOptions { activation: IntType::Int8, activation_symmetry: Symmetry::Symmetric, ..QdqOptions::default() };
    assert!(of(symmetric) < 0.08);
    let wide = QdqOptions { activation: IntType::Uint16, ..QdqOptions::default() };
    assert!(of(wide) < 0.03);
    assert!(of(QdqOptions { per_channel: false, ..QdqOptions::default() }) < 0.08);
    assert!(of(QdqOptions { reduce_range: true, ..QdqOptions::default() }) < 0.08);
}

#[test]
fn nodes_that_are_excluded_and_layers_that_stay_float_are_left_alone() {
    let Some(library) = library() else { return };
    let float = model(&with_header(17, IMAGES));
    let options = QdqOptions { excluded: ["c2".to_owned()].into_iter().collect(), ..QdqOptions::default() };
    let small = quantized(library, &float, options);
    let have = kernels(library, &small);
    assert_eq!(have.get("QLinearConv"), Some(&2), "{have:?}");
    let source = WeightStore::new("");
    let ready = ready(&float);
    let qdq = Qdq::new(&ready, &source, QdqOptions::default());
    let ranges = seen(library, &ready, &qdq).ranges(256);
    let none = qdq.build(&Choice::new(), &ranges).unwrap().model;
    assert_eq!(none.graph.n_nodes(), ready.graph.n_nodes());
    assert!(distance(library, &float, &none) < 1e-5);
}

#[test]
fn a_bias_that_no_32_bits_hold_at_its_scale_raises_the_scale() {
    let Some(library) = library() else { return };
    let text = "g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float[2,2,1,1] w = {1e-7, 2e-7, 1.0, -1.0}, float[2] b = {50.0, 0.5}> { y = Conv(x, w, b) }";
    let float = model(&with_header(17, text));
    let off = distance(library, &float, &quantized(library, &float, QdqOptions::default()));
    assert!(off < 0.02, "{off}");
}

#[test]
fn equalizing_and_folding_keep_the_answers() {
    let Some(library) = library() else { return };
    let float = model(&with_header(17, IMAGES));
    let source = WeightStore::new("");
    let ready = ready(&float);
    assert!(ready.graph.nodes().all(|(_, node)| !node.is("BatchNormalization")));
    assert!(distance(library, &float, &ready) < 1e-5);
    let (even, n_pairs) = equalize(&ready, &source).unwrap();
    // The first is read by the sum as well: only the second and third are a pair of their own.
    assert_eq!(n_pairs, 1);
    assert!(distance(library, &ready, &even) < 1e-5);
    let largest = |model: &Model, name: &str, channels: bool| -> Vec<f32> {
        let id = model.graph.value_named(name).unwrap();
        let bytes = model.graph.value(id).tensor().unwrap().inline_bytes().unwrap().unwrap();
        let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let of = |channel: usize| {
            let own = numbers.iter().enumerate().filter(|(index, _)| {
                if channels { index % 8 == channel } else { index / (numbers.len() / 8) == channel }
            });
            own.fold(0f32, |most, (_, number)| most.max(number.abs()))
        };
        (0..8).map(of).collect()
    };
    for (made, read) in largest(&even, "w2", false).iter().zip(largest(&even, "w3", true)) {
        assert!((made / read - 1.0).abs() < 0.01, "{made} {read}");
    }
}

/// Weights where other tools do not find them: behind Identity and Transpose, in constants, shared,
/// and in bodies that capture them.
const HIDDEN: &str = "
    g (float[3,8] x, bool[] c) => (float[3,8] y)
    <float[8,8] w, float[8,8] shared> {
        same = Identity(w)
        a = MatMul(x, same)
        turned = Transpose<perm = [1,0]>(shared)
        b = MatMul(a, turned)
        d = MatMul(b, shared)
        y = If(c) <
            then_branch = t () => (float[3,8] p) { p0 = MatMul(d, shared) p = Tanh(p0) },
            else_branch = e () => (float[3,8] q) { q = Identity(d) }
        >
    }";

fn dynamic(model: &Model) -> (Model, usize) {
    let source = WeightStore::new("");
    let ready = prepare(model, &source).unwrap().model;
    let dynamic = Dynamic::new(&ready, &source, DynamicOptions::default());
    (dynamic.build(&all_small(dynamic.layers())).unwrap(), dynamic.layers().len())
}

#[test]
fn weights_are_found_behind_other_nodes_shared_and_in_bodies() {
    let Some(library) = library() else { return };
    let float = model(&with_header(17, HIDDEN));
    let (small, n_layers) = dynamic(&float);
    assert_eq!(n_layers, 4);
    let mut fed = inputs(&float, 5);
    for branch in [0u8, 1] {
        fed.insert("c", onnxfit_runtime::Tensor::from_bytes(ElementType::Bool, vec![], vec![branch]).unwrap());
        let compared = compare(&run(library, &float, &fed), &run(library, &small, &fed), Exactness::Quantized);
        assert!(compared.outputs[0].relative_l2 < 0.05, "{compared:?}");
    }
    let kernels = kernels(library, &small);
    assert!(kernels.keys().any(|name| name.contains("DynamicQuantize") || name.contains("Integer")), "{kernels:?}");
    assert!(!kernels.contains_key("MatMul"), "{kernels:?}");
    assert!(small.graph.value_named("shared").is_none() && small.graph.value_named("w").is_none());
}

#[test]
fn products_convolutions_and_lstm_have_dynamic_kernels() {
    let Some(library) = library() else { return };
    let text = "g (float[5,1,4] s, float[1,3,8,8] x) => (float[5,1,1,6] y, float[1,4] z)
        <float[1,24,4] w, float[1,24,6] r, float[1,48] b, float[4,3,3,3] k, float[4] kb, float[4,4] v, float[4] vb> {
            y, h, c = LSTM<hidden_size = 6>(s, w, r, b)
            f = Conv(x, k, kb)
            p = GlobalAveragePool(f)
            flat = Flatten(p)
            z = Gemm<transB = 1>(flat, v, vb)
        }";
    let float = model(&with_header(17, text));
    let (small, n_layers) = dynamic(&float);
    assert_eq!(n_layers, 3);
    let off = distance(library, &float, &small);
    assert!(off < 0.05, "{off}");
    let kernels = kernels(library, &small);
    for kernel in ["DynamicQuantizeLSTM", "ConvInteger"] {
        assert_eq!(kernels.get(kernel), Some(&1), "{kernels:?}");
    }
}

#[test]
fn models_older_than_dynamic_quantization_use_the_runtime_s_own_operator() {
    let Some(library) = library() else { return };
    let text = "g (float[3,8] x) => (float[3,4] y) <float[8,4] w, float[4] b> { y = Gemm(x, w, b) }";
    let float = model(&with_header(10, text));
    let (small, n_layers) = dynamic(&float);
    assert_eq!(n_layers, 1);
    assert!(distance(library, &float, &small) < 0.05);
    assert_eq!(kernels(library, &small).get("DynamicQuantizeMatMul"), Some(&1));
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let text = "g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}> { y = MatMul(x, w) }";
    let mut proto: ModelProto = text::parse(&with_header(17, text)).unwrap();
    proto.graph.as_mut().unwrap().initializer[0] = TensorProto::from_f32("w", &[2, 2], &[1.0, f32::NAN, 0.0, 1.0]);
    let model = Model::from_proto(&proto).unwrap();
    let source = WeightStore::new("");
    let dynamic = Dynamic::new(&model, &source, DynamicOptions::default());
    let error = dynamic.build(&all_small(dynamic.layers())).unwrap_err().to_string();
    assert_eq!(error, "`w` holds 1 NaN or infinite numbers");
}
