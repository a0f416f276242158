use onnxfit_onnx::{DataType, ModelFile};

use super::*;
use crate::sizes::TensorSize;

fn twoin(dims: [u64; 2], options: &SessionOptions, n_runs: usize) -> Prediction {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toy/twoin.onnx");
    let model = Model::from_proto(&ModelFile::open(path).unwrap().proto).unwrap();
    let [rows, columns] = dims;
    let mut sizes = RunSizes { tensors: vec![None; model.graph.n_values()], ..RunSizes::default() };
    for (id, value) in model.graph.values() {
        let dims = match value.name.as_str() {
            "u" | "v" => vec![rows, 2 * columns],
            "y" => vec![],
            _ => vec![rows, columns],
        };
        sizes.tensors[id.index()] = Some(TensorSize { element: DataType::Float, dims });
    }
    predict(&model, &vec![sizes; n_runs], options)
}

#[test]
fn the_parts_at_the_peak_sum_to_it_exactly() {
    for provider in [Provider::Cpu, Provider::Cuda { compute_capability: None }] {
        for mem_pattern in [true, false] {
            let options = SessionOptions { provider: provider.clone(), mem_pattern, ..SessionOptions::default() };
            let prediction = twoin([64, 1000], &options, 3);
            for (index, run) in prediction.runs.iter().enumerate() {
                assert_eq!(prediction.peak(index).moment.bytes(), run.peak_in_use_bytes, "{provider:?} {mem_pattern}");
            }
            let parts = prediction.breakdown;
            let sum = parts.weights_bytes
                + parts.activations_bytes
                + parts.workspace_bytes
                + parts.arena_slack_bytes
                + parts.context_bytes;
            assert_eq!(sum, prediction.device.expected);
        }
    }
}

#[test]
fn the_peak_names_the_node_and_who_was_alive() {
    let prediction = twoin([64, 1000], &SessionOptions::default(), 1);
    let moment = prediction.peak(0).moment;
    let alive: Vec<String> = moment.parts.iter().map(|part| format!("{}={}", part.owner.name, part.bytes.0)).collect();
    expect_test::expect![[r#"(Some(("cat", "Concat")), ["u=536576", "s=256000", "t=256000"])"#]]
        .assert_eq(&format!("{:?}", (&moment.node, alive)));
}

#[test]
fn a_cuda_session_copies_feeds_in_and_outputs_back() {
    let options =
        SessionOptions { provider: Provider::Cuda { compute_capability: Some((7, 5)) }, ..SessionOptions::default() };
    let prediction = twoin([64, 1000], &options, 1);
    let feeds = prediction.peak(0).moment.bytes_of(&[OwnerKind::Feed]);
    assert!(feeds >= Bytes(2 * 64 * 1000 * 4), "{feeds}");
    assert!(prediction.device.low < prediction.device.expected && prediction.device.expected < prediction.device.high);
}

#[test]
fn a_limit_below_the_need_names_the_node_and_the_text() {
    let arena = ArenaConfig { limit: Some(Bytes(600_000)), ..ArenaConfig::default() };
    let prediction = twoin([64, 1000], &SessionOptions { arena, ..SessionOptions::default() }, 1);
    assert_eq!(
        prediction.failure.map(|failure| failure.message()).as_deref(),
        Some(
            "Non-zero status code returned while running Concat node. Name:'cat' Status Message: \
             Available memory of 0 is smaller than requested bytes of 512000"
        )
    );
}

#[test]
fn the_peak_of_a_run_with_a_memory_pattern_names_tensors_and_the_gap_between_them() {
    let prediction = twoin([64, 1000], &SessionOptions::default(), 2);
    let (run, peak) = (&prediction.runs[1], prediction.peak(1));
    let kinds: Vec<OwnerKind> = peak.moment.parts.iter().map(|part| part.owner.kind).collect();
    assert!(kinds.contains(&OwnerKind::Activation), "{kinds:?}");
    assert_eq!(peak.moment.bytes(), run.peak_in_use_bytes);
    assert!(peak.moment.node.is_some());
}

/// A prediction for a graph of fixed shapes on a T4.
fn on_a_t4(graph: &str) -> Prediction {
    on_a_t4_with(graph, SessionOptions::default())
}

fn on_a_t4_with(graph: &str, options: SessionOptions) -> Prediction {
    let model = Model::from_proto(&onnxfit_onnx::text::parse(graph).unwrap()).unwrap();
    let facts = onnxfit_shape::infer(&model, &onnxfit_shape::Bindings::default()).graph;
    let tensor = |id| {
        let fact = facts.get(id)?;
        Some(TensorSize { element: fact.element_type?, dims: fact.concrete()? })
    };
    let sizes = RunSizes { tensors: model.graph.values().map(|(id, _)| tensor(id)).collect(), ..RunSizes::default() };
    let provider = Provider::Cuda { compute_capability: Some((7, 5)) };
    predict(&model, &vec![sizes; 3], &SessionOptions { provider, ..options })
}

#[test]
fn what_shrinkage_gives_back_at_the_end_of_a_run_was_taken_all_the_same() {
    let graph = "g (float[8192, 1] x, float[1, 8192] z) => (float[1, 1] y) {
        a = MatMul (x, z)  y = ReduceMax <axes = [0, 1]> (a)
    }";
    let plain = on_a_t4(graph);
    let shrunk = on_a_t4_with(graph, SessionOptions { shrink_after_run: true, ..SessionOptions::default() });
    let held = |prediction: &Prediction| prediction.runs.last().unwrap().released.total_allocated_bytes;
    assert!(held(&shrunk) < Bytes::mib(64) && held(&plain) >= Bytes::mib(256), "{} {}", held(&shrunk), held(&plain));
    assert!(shrunk.device.expected >= Bytes::mib(256), "{:?}", shrunk.device);
}

#[test]
fn a_convolution_widens_the_band_by_the_scratch_that_cudnn_may_take() {
    // Winograd may take 36/16 of x and y: 2 x 9 MiB, in an arena that doubles.
    let convolution = on_a_t4(
        "g (float[1, 64, 128, 128] x) => (float[1, 64, 128, 128] y) <float[64, 64, 3, 3] w> {
            y = Conv <pads = [1, 1, 1, 1]> (x, w)
        }",
    );
    let plain = on_a_t4("g (float[1, 64, 128, 128] x) => (float[1, 64, 128, 128] y) { y = Softmax (x) }");
    let width = |prediction: &Prediction| prediction.device.high - prediction.device.low;
    let cards = |prediction: &Prediction| (prediction.device.expected, prediction.breakdown.context_bytes);
    assert!(width(&convolution) > width(&plain) + Bytes::mib(16), "{:?} {:?}", convolution.device, plain.device);
    let (expected, context) = cards(&plain);
    assert_eq!(expected - context, plain.runs.last().unwrap().total_allocated_bytes);
}

#[test]
fn an_operator_without_a_cuda_rule_is_named_and_one_on_the_cpu_is_not_asked_for_one() {
    let prediction = on_a_t4(
        "g (float[2, 3] x, float[3, 4] z) => (float[2, 4] y) {
            a = Einsum <equation = \"ij,jk->ik\"> (x, z)
            y = Relu (a)
        }",
    );
    let named: Vec<&str> = prediction.diagnostics.iter().map(|diagnostic| diagnostic.id).collect();
    assert_eq!(named, ["unmodelled-op"], "{:?}", prediction.diagnostics);
}

#[test]
fn reserved_weights_pass_a_limit_that_regions_may_not() {
    let graph = "g (float[4, 1024] x) => (float[4, 1024] y) <float[1024, 1024] w> { y = MatMul (x, w) }";
    let model = Model::from_proto(&onnxfit_onnx::text::parse(graph).unwrap()).unwrap();
    let predicted = |use_device_allocator_for_initializers| {
        let options = SessionOptions {
            provider: Provider::Cuda { compute_capability: Some((7, 5)) },
            arena: ArenaConfig { limit: Some(Bytes::mib(2)), ..ArenaConfig::default() },
            use_device_allocator_for_initializers,
            ..SessionOptions::default()
        };
        predict::<RunSizes>(&model, &[], &options)
    };
    assert!(predicted(false).failure.is_some(), "4 MiB of weights do not fit 2 MiB of regions");
    let reserved = predicted(true);
    assert_eq!((reserved.failure, reserved.load.total_allocated_bytes), (None, Bytes::mib(4)));
}

#[test]
fn thousands_of_banded_nodes_are_predicted_at_once() {
    let mut graph = "g (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y2000) <float[8, 8, 3, 3] w> {".to_owned();
    for node in 1..=2000 {
        let input = if node == 1 { "x".to_owned() } else { format!("y{}", node - 1) };
        graph.push_str(&format!("y{node} = Conv <pads = [1, 1, 1, 1]> ({input}, w)\n"));
    }
    graph.push('}');
    let began = std::time::Instant::now();
    let prediction = on_a_t4(&graph);
    eprintln!("2000 nodes, three bounds, unoptimized: {:?}", began.elapsed());
    assert!(prediction.device.low < prediction.device.expected);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn an_lstm_keeps_its_constant_weights_in_the_layout_of_cudnn_as_well() {
    let prediction = on_a_t4(
        "g (float[10, 2, 8] x) => (float[10, 1, 2, 16] y) <float[1, 64, 8] w, float[1, 64, 16] r> {
            y = LSTM <hidden_size = 16> (x, w, r)
        }",
    );
    // 4 gates x 16 x (8 inputs + 16 hidden + 2 biases) floats beside w and r.
    assert_eq!(prediction.load.in_use_bytes, Bytes(2048 + 4096 + 4 * 16 * (8 + 16 + 2) * 4));
}

#[test]
fn a_run_that_goes_like_the_last_is_told_as_if_it_were_replayed() {
    let graph = "g (float[4, 64] x) => (float[4, 64] z) <float[64, 64] w> { y = MatMul (x, w)\n z = Relu (y) }";
    let model = Model::from_proto(&onnxfit_onnx::text::parse(graph).unwrap()).unwrap();
    let tensor = |_| Some(TensorSize { element: DataType::Float, dims: vec![64, 64] });
    let sizes = RunSizes { tensors: (0..model.graph.n_values()).map(tensor).collect(), ..RunSizes::default() };
    for provider in [Provider::Cpu, Provider::Cuda { compute_capability: Some((7, 5)) }] {
        for (mem_pattern, shrink_after_run) in [(true, false), (false, false), (true, true)] {
            let provider = provider.clone();
            let options = SessionOptions { provider, mem_pattern, shrink_after_run, ..SessionOptions::default() };
            // Sizes that lie in one place are known to be the same; copies are compared by nobody.
            let told = predict(&model, &[&sizes; 5], &options);
            let replayed = predict(&model, &vec![sizes.clone(); 5], &options);
            assert_eq!(format!("{told:?}"), format!("{replayed:?}"));
        }
    }
}
