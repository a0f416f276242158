//! A step repeated over the first axis, written as `Scan`.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{AttributeProto, TypeProto, ValueInfoProto};

use crate::emit::{int, ints};
use crate::tape::{Tape, Var};

/// States after a step, and what the step gives for its place on the axis.
pub(super) type Step = (Vec<Var>, Vec<Var>);

/// Runs `step` over the first axis of `sequences`, from the back if `is_reversed`. The step may
/// read values of the graph around it. Returns the last states and the outputs, joined.
pub(super) fn scan(
    tape: &mut Tape,
    scope: &str,
    element_type: DataType,
    states: &[Var],
    sequences: &[Var],
    is_reversed: bool,
    step: impl FnOnce(&mut Tape, &[Var], &[Var]) -> Step,
) -> Step {
    let mut body = Tape::default();
    body.set_scope(scope);
    let state_inputs: Vec<Var> = states.iter().map(|_| body.fresh("state")).collect();
    let sequence_inputs: Vec<Var> = sequences.iter().map(|_| body.fresh("part")).collect();
    let (next, given) = step(&mut body, &state_inputs, &sequence_inputs);
    let info = |body: &Tape, var: &Var| ValueInfoProto {
        name: Some(body.name(*var).to_owned()),
        r#type: Some(open_tensor(element_type)),
        ..ValueInfoProto::default()
    };
    let inputs = state_inputs.iter().chain(&sequence_inputs).map(|var| info(&body, var)).collect();
    let outputs = next.iter().chain(&given).map(|var| info(&body, var)).collect();
    let graph = body.into_graph("step", inputs, outputs);
    let direction = i64::from(is_reversed);
    let attributes = vec![
        AttributeProto {
            name: Some("body".to_owned()),
            r#type: Some(5),
            g: Some(Box::new(graph)),
            ..AttributeProto::default()
        },
        int("num_scan_inputs", sequences.len() as i64),
        ints("scan_input_directions", &vec![direction; sequences.len()]),
        ints("scan_output_directions", &vec![direction; given.len()]),
    ];
    let feeds: Vec<Option<Var>> = states.iter().chain(sequences).copied().map(Some).collect();
    let mut made = tape.emit("Scan", &feeds, attributes, next.len() + given.len());
    let outputs = made.split_off(next.len());
    (made, outputs)
}

fn open_tensor(element_type: DataType) -> TypeProto {
    use onnxfit_graph::{TensorType, ValueType};
    ValueType::Tensor(TensorType { element_type: Some(element_type), shape: None }).to_proto()
}
