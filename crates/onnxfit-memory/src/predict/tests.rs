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
            for run in &prediction.runs {
                assert_eq!(run.peak.moment.bytes(), run.peak_in_use_bytes, "{provider:?} {mem_pattern}");
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
    let moment = &prediction.runs[0].peak.moment;
    let alive: Vec<String> = moment.parts.iter().map(|part| format!("{}={}", part.owner.name, part.bytes.0)).collect();
    expect_test::expect![[r#"(Some(("cat", "Concat")), ["u=536576", "s=256000", "t=256000"])"#]]
        .assert_eq(&format!("{:?}", (&moment.node, alive)));
}

#[test]
fn a_cuda_session_copies_feeds_in_and_outputs_back() {
    let options =
        SessionOptions { provider: Provider::Cuda { compute_capability: Some((7, 5)) }, ..SessionOptions::default() };
    let prediction = twoin([64, 1000], &options, 1);
    let feeds = prediction.runs[0].peak.moment.bytes_of(&[OwnerKind::Feed]);
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
    let run = &prediction.runs[1];
    let kinds: Vec<OwnerKind> = run.peak.moment.parts.iter().map(|part| part.owner.kind).collect();
    assert!(kinds.contains(&OwnerKind::Activation), "{kinds:?}");
    assert_eq!(run.peak.moment.bytes(), run.peak_in_use_bytes);
    assert!(run.peak.moment.node.is_some());
}
