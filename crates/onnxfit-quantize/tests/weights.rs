//! Models with smaller weights against the originals, in the real ONNX Runtime where there is one.

use std::path::Path;

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{SaveOptions, TensorSource, WeightStore, save, text};
use onnxfit_quantize::Level;
use onnxfit_quantize::weights::{Hessian, WeightOnly, WeightOptions};
use onnxfit_runtime::inputs::{InputOptions, InputSpec, make};
use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::{ElementType, Library, Session, SessionSpec, Tensors, locate};

fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

/// A text model whose initializers are filled with noise.
fn filled(text: &str) -> ModelProto {
    let mut proto: ModelProto = text::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let mut state = 7u32;
    for tensor in &mut proto.graph.as_mut().unwrap().initializer {
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let numbers: Vec<f32> = (0..tensor.n_elements().unwrap()).map(|_| noise()).collect();
        *tensor = TensorProto::from_f32(tensor.name(), &tensor.dims, &numbers);
    }
    proto
}

fn run(library: &'static Library, proto: &ModelProto, source: &dyn TensorSource, folder: &Path) -> Tensors {
    let path = folder.join("model.onnx");
    save(proto, &path, &SaveOptions::new(source)).unwrap();
    let mut session = Session::open(library, &SessionSpec::new(path)).unwrap_or_else(|error| panic!("{error}"));
    let specs: Vec<InputSpec> = session
        .inputs()
        .iter()
        .map(|input| InputSpec {
            name: input.name.clone(),
            element_type: input.element_type.expect("the models here take tensors"),
            shape: input.shape.iter().map(|dim| dim.expect("of fixed shapes") as i64).collect(),
            role: None,
        })
        .collect();
    let inputs = make(&specs, InputOptions { vocab_size: Some(16), ..InputOptions::default() }).unwrap();
    session.run(&inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// The relative L2 distance of the worst output, with all weights at a level.
fn error(model: &str, level: Level) -> Option<f64> {
    let library = library()?;
    let proto = filled(model);
    let model = Model::from_proto(&proto).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = WeightStore::new(folder.path());
    let only = WeightOnly::new(&model, &store, WeightOptions { smallest: level, ..WeightOptions::default() });
    let choice = only.layers().iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    assert!(!only.layers().is_empty());
    let outcome = only.build(&choice).unwrap();
    let before = run(library, &proto, &store, folder.path());
    let after = run(library, &outcome.model.to_proto(), &outcome.pieces.source(&store), folder.path());
    let comparison = compare(&before, &after, Exactness::Quantized);
    Some(comparison.outputs.iter().map(|output| output.relative_l2).fold(0.0, f64::max))
}

const MODELS: [(&str, &str); 8] = [
    ("product", "g (float[3,70] x) => (float[3,24] y) <float[70,24] w> { y = MatMul(x, w) }"),
    (
        "turned",
        "g (float[3,70] x) => (float[3,24] y) <float[24,70] w, float[24] b> { y = Gemm <transB: int = 1> (x, w, b) }",
    ),
    ("scaled", "g (float[3,70] x) => (float[3,24] y) <float[70,24] w> { y = Gemm <alpha: float = 2.0> (x, w) }"),
    ("table", "g (int64[2,3] i) => (float[2,3,32] y) <float[64,32] t> { y = Gather(t, i) }"),
    ("convolution", "g (float[1,8,9,9] x) => (float[1,16,7,7] y) <float[16,8,3,3] w> { y = Conv(x, w) }"),
    ("upwards", "g (float[1,8,9,9] x) => (float[1,16,11,11] y) <float[8,16,3,3] w> { y = ConvTranspose(x, w) }"),
    (
        "recurrent",
        "g (float[4,1,32] x) => (float[4,2,1,16] y) <float[2,64,32] w, float[2,64,16] r> \
         { y = LSTM <hidden_size: int = 16, direction: string = \"bidirectional\"> (x, w, r) }",
    ),
    (
        "body",
        "g (float[2,32] x) => (float[2,32] y) <float[32,32] w, float[] z> { s = ReduceSum <keepdims: int = 0> (x) \
         c = Less(s, s) k = Not(c) y = If (k) <then_branch = t () => (float[2,32] a) { a = MatMul(x, w) }, \
         else_branch = e () => (float[2,32] b) { b = Relu(x) }> }",
    ),
];

#[test]
fn every_form_of_weight_loads_and_is_as_near_as_its_bits_allow() {
    for (name, model) in MODELS {
        // Without an axis in `DequantizeLinear`, ONNX Runtime's own takes its place.
        for opset in [17, 11] {
            let text = format!("<ir_version: 8, opset_import: [\"\": {opset}]>\n{model}");
            for (level, most) in [(Level::Half, 1e-3), (Level::Int8, 1.5e-2), (Level::Int4, 0.15)] {
                let Some(error) = error(&text, level) else { return };
                assert!(error > 0.0 && error < most, "{name} {opset} {level:?}: {error}");
            }
        }
    }
}

#[test]
fn a_layer_whose_errors_are_compensated_answers_better() {
    let Some(library) = library() else { return };
    let text = "<ir_version: 8, opset_import: [\"\": 17]>\n\
                g (float[64,96] x) => (float[64,24] y) <float[96,24] w> { y = MatMul(x, w) }";
    let proto = filled(text);
    let model = Model::from_proto(&proto).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = WeightStore::new(folder.path());
    let before = run(library, &proto, &store, folder.path());
    let mut only = WeightOnly::new(&model, &store, WeightOptions { smallest: Level::Int4, ..WeightOptions::default() });
    let choice = only.layers().iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    let error = |only: &WeightOnly<'_>| {
        let outcome = only.build(&choice).unwrap();
        let after = run(library, &outcome.model.to_proto(), &outcome.pieces.source(&store), folder.path());
        compare(&before, &after, Exactness::Quantized).outputs[0].relative_l2
    };
    let nearest = error(&only);
    assert_eq!(only.multiplied()["w"], "x");
    // The inputs that `run` makes up.
    let spec = InputSpec { name: "x".into(), element_type: ElementType::Float, shape: vec![64, 96], role: None };
    let inputs = make(&[spec], InputOptions { vocab_size: Some(16), ..InputOptions::default() }).unwrap();
    let numbers: Vec<f32> = inputs.get("x").unwrap().values().unwrap().into_iter().map(|x| x as f32).collect();
    let mut hessian = Hessian::new(only.n_inputs("w").unwrap());
    hessian.add(&numbers);
    assert!(only.compensate("w", &hessian));
    let compensated = error(&only);
    assert!(compensated < 0.6 * nearest, "{compensated} against {nearest}");
}
