use super::*;
use crate::timeline::{NodeView, PhaseView, StepView, TensorView};
use onnxfit_base::Bytes;

#[test]
fn every_slice_that_begins_ends_and_counters_follow_the_steps() {
    let step = |node, bytes| StepView {
        node,
        in_use_bytes: Bytes(bytes).into(),
        held_bytes: Bytes(1024).into(),
        ..StepView::default()
    };
    let view = TimelineView {
        place: "device memory",
        phases: vec![
            PhaseView { name: "load".to_owned(), first_step: 0 },
            PhaseView { name: "run 1".to_owned(), first_step: 1 },
        ],
        nodes: vec![NodeView { name: "n\"1".to_owned(), op_type: "Conv".to_owned() }],
        steps: vec![step(None, 256), step(Some(0), 768)],
        tensors: vec![TensorView {
            name: "y".to_owned(),
            kind: "activation",
            node: Some(0),
            bytes: Bytes(512).into(),
            first_step: 1,
            last_step: 1,
        }],
        ..TimelineView::default()
    };
    let mut out = Vec::new();
    write_trace(&mut out, &view, "m.onnx").unwrap();
    let trace: Value = serde_json::from_slice(&out).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
    assert_eq!(of("X").len(), 3);
    assert_eq!(of("C").len(), 4);
    assert_eq!(of("C")[2]["args"]["bytes"], 768);
    let (begin, end) = (of("b"), of("e"));
    assert_eq!((begin.len(), end.len()), (1, 1));
    assert_eq!((&begin[0]["ts"], &end[0]["ts"]), (&json!(1000), &json!(2000)));
    assert_eq!(begin[0]["args"]["made_by"], "n\"1");
}
