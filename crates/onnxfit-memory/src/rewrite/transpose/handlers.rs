//! How a transpose passes each operator; one line per operator.

use onnxfit_graph::AttributeValue;

use super::perm::{compose, normalized, sorted_axes, squeezed, unsqueezed};
use super::push::{
    add_ints, add_node, is_comprehensive, normalize_ranks, permuted_vector, transpose_input, transpose_inputs,
    transpose_output, transpose_outputs,
};
use super::{Push, reshape, stated_perm};
use crate::rewrite::infer::axis_from_front;
use crate::rewrite::net::{ArgId, Net, Op, OpId};

/// How an operator takes a transpose.
#[derive(Clone, Copy)]
pub(super) struct Handler {
    /// Which inputs may be transposed.
    pub(super) inputs: fn(&Net, OpId) -> Vec<usize>,
    /// Pushes the transpose; `false` if it could not.
    pub(super) handle: fn(&mut Net, &Push<'_>) -> bool,
    /// Whether the outputs are transposed then.
    pub(super) transposes_outputs: bool,
}

const fn on(inputs: fn(&Net, OpId) -> Vec<usize>, handle: fn(&mut Net, &Push<'_>) -> bool) -> Handler {
    Handler { inputs, handle, transposes_outputs: true }
}

const fn last(inputs: fn(&Net, OpId) -> Vec<usize>, handle: fn(&mut Net, &Push<'_>) -> bool) -> Handler {
    Handler { inputs, handle, transposes_outputs: false }
}

/// The handler of an operator.
pub(super) fn handler(op: &Op) -> Option<Handler> {
    if !op.domain.is_empty() {
        return None;
    }
    Some(match op.op_type.as_str() {
        "Cast" | "Exp" | "Gelu" | "Identity" | "LeakyRelu" | "Log" | "Reciprocal" | "Relu" | "Sigmoid" | "Sqrt"
        | "Tanh" | "Abs" | "Not" | "Ceil" | "Floor" | "Neg" | "Erf" | "HardSigmoid" | "Round" | "IsInf" | "IsNaN"
        | "Selu" | "Shrink" | "Sign" | "Softplus" | "Softsign" | "ThresholdedRelu" | "Celu" | "HardSwish" | "Sin"
        | "Cos" | "Tan" | "Sinh" | "Cosh" | "Asin" | "Acos" | "Atan" | "Asinh" | "Acosh" | "Atanh" => on(all, simple),
        "Add" | "Max" | "Min" | "Mul" | "Sub" | "Div" | "And" | "Or" | "Xor" | "Mod" | "PRelu" | "BitShift"
        | "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Mean" | "Sum" | "Pow" | "Where" => {
            on(non_scalar, broadcast)
        }
        "Clip" | "CastLike" => on(first, simple),
        "Transpose" => last(first, transpose),
        "Concat" => on(all, |net, push| with_axis(net, push, None)),
        "Split" => on(first, |net, push| with_axis(net, push, Some(0))),
        "Softmax" | "Hardmax" | "LogSoftmax" => on(first, softmax),
        "Shape" => last(first, shape),
        "Pad" => on(first, pad),
        "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum"
        | "ReduceSumSquare" | "ReduceL1" | "ReduceL2" => on(first, reduce),
        "ArgMin" | "ArgMax" => on(first, arg),
        "Squeeze" => on(first, squeeze),
        "Unsqueeze" => on(first, unsqueeze),
        "Slice" => on(first, slice),
        "Gather" => on(first, gather),
        "Tile" => on(first, tile),
        "QuantizeLinear" | "DequantizeLinear" => on(first, quantize),
        "Reshape" => last(first, reshape::reshape),
        // Known to the runtime, refused by its own handlers on the CPU.
        "MaxPool" => on(first, |_, _| false),
        "Resize" => on(first, |_, _| false),
        _ => return None,
    })
}

fn all(net: &Net, id: OpId) -> Vec<usize> {
    (0..net.op(id).inputs.len()).collect()
}

fn first(_: &Net, _: OpId) -> Vec<usize> {
    vec![0]
}

fn non_scalar(net: &Net, id: OpId) -> Vec<usize> {
    let op = net.op(id);
    (0..op.inputs.len()).filter(|slot| net.input_shape(id, *slot).is_none_or(|shape| !shape.is_empty())).collect()
}

fn simple(net: &mut Net, push: &Push<'_>) -> bool {
    transpose_inputs(net, push.node, push.inverse, push.inputs);
    transpose_outputs(net, push.node, push.perm);
    true
}

fn broadcast(net: &mut Net, push: &Push<'_>) -> bool {
    normalize_ranks(net, push.node, push.perm.len(), push.inputs) && simple(net, push)
}

fn set_axis(net: &mut Net, id: OpId, axis: i64) {
    net.set_attribute(id, "axis", AttributeValue::Int(axis));
}

fn with_axis(net: &mut Net, push: &Push<'_>, default: Option<i64>) -> bool {
    let Some(axis) = net.op(push.node).int("axis").or(default) else { return false };
    let Some(axis) = axis_from_front(axis, push.perm.len()) else { return false };
    simple(net, push);
    set_axis(net, push.node, push.perm[axis]);
    true
}

fn softmax(net: &mut Net, push: &Push<'_>) -> bool {
    if net.opset() >= 13 {
        return with_axis(net, push, Some(-1));
    }
    let axis = net.op(push.node).int("axis").unwrap_or(1);
    let Some(axis) = axis_from_front(axis, push.perm.len()) else { return false };
    let mixes = push.perm.iter().enumerate().any(|(at, from)| (at < axis) != (*from < axis as i64));
    !mixes && simple(net, push)
}

/// Before a shape is read, its numbers are put in order instead.
fn shape(net: &mut Net, push: &Push<'_>) -> bool {
    transpose_inputs(net, push.node, push.inverse, push.inputs);
    let rank = push.perm.len() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let start = place(net.op(push.node).int("start").unwrap_or(0));
    let end = place(net.op(push.node).int("end").unwrap_or(rank));
    let wanted: Vec<i64> = push.perm.get(start..end).unwrap_or_default().to_vec();
    for name in ["start", "end"] {
        if net.op(push.node).attributes.contains_key(name) {
            net.remove_attribute(push.node, name);
        }
    }
    let wanted = add_ints(net, &wanted);
    let (gather, _) = add_node(net, push.node, "Gather", vec![None, Some(wanted)]);
    set_axis(net, gather, 0);
    let old = net.op(push.node).output(0);
    let name = format!("{}_out0", net.op(push.node).name);
    let whole = net.add_arg(&name, Some(onnxfit_onnx::DataType::Int64), Some(vec![onnxfit_graph::Dim::Known(rank)]));
    net.set_output(push.node, 0, Some(whole));
    net.set_output(gather, 0, old);
    net.set_input(gather, 0, Some(whole));
    true
}

/// Reorders a list of numbers at an input.
fn permute_input(net: &mut Net, id: OpId, slot: usize, perm: &[i64]) {
    let Some(input) = net.op(id).input(slot) else { return };
    if let Some(tensor) = net.constant(input).cloned()
        && tensor.dims == [perm.len() as i64]
    {
        let new = net.add_constant(permuted_vector(&tensor, perm));
        net.set_input(id, slot, Some(new));
        return;
    }
    let indices = add_ints(net, perm);
    let (gather, output) = add_node(net, id, "Gather", vec![Some(input), Some(indices)]);
    set_axis(net, gather, 0);
    net.set_input(id, slot, Some(output));
}

fn pad(net: &mut Net, push: &Push<'_>) -> bool {
    let rank = push.perm.len() as i64;
    let order: Vec<i64> = push.inverse.iter().copied().chain(push.inverse.iter().map(|axis| axis + rank)).collect();
    if net.opset() < 11 {
        let Some(pads) = net.op(push.node).ints("pads").filter(|pads| pads.len() == order.len()) else { return false };
        let pads = order.iter().map(|at| pads[*at as usize]).collect();
        net.set_attribute(push.node, "pads", AttributeValue::Ints(pads));
    } else {
        permute_input(net, push.node, 1, &order);
    }
    transpose_input(net, push.node, 0, push.inverse);
    transpose_outputs(net, push.node, push.perm);
    true
}

fn reduce(net: &mut Net, push: &Push<'_>) -> bool {
    let op = net.op(push.node);
    let keep = op.int("keepdims").unwrap_or(1) != 0;
    let by_attribute = net.opset() < if op.op_type == "ReduceSum" { 13 } else { 18 };
    let axes = if by_attribute {
        op.ints("axes").map(<[i64]>::to_vec)
    } else {
        match op.input(1) {
            None => None,
            Some(arg) => match net.constant_ints(arg) {
                Some(axes) => Some(axes).filter(|axes| !axes.is_empty()),
                None => return false,
            },
        }
    };
    let Some(axes) = axes else {
        let same = keep || (!by_attribute && op.int("noop_with_empty_axes").unwrap_or(0) != 0);
        transpose_input(net, push.node, 0, push.inverse);
        if same {
            transpose_outputs(net, push.node, push.perm);
        }
        return true;
    };
    let Some(axes) = normalized(&axes, push.perm.len()) else { return false };
    let new = sorted_axes(&axes, push.perm);
    set_axes(net, push.node, &new, by_attribute);
    transpose_input(net, push.node, 0, push.inverse);
    let after = if keep { push.perm.to_vec() } else { squeezed(&new, push.perm) };
    transpose_outputs(net, push.node, &after);
    true
}

fn set_axes(net: &mut Net, id: OpId, axes: &[i64], by_attribute: bool) {
    if by_attribute {
        net.set_attribute(id, "axes", AttributeValue::Ints(axes.to_vec()));
    } else {
        let new = add_ints(net, axes);
        net.set_input(id, 1, Some(new));
    }
}

fn arg(net: &mut Net, push: &Push<'_>) -> bool {
    let op = net.op(push.node);
    let keep = op.int("keepdims").unwrap_or(1) != 0;
    let Some(axis) = axis_from_front(op.int("axis").unwrap_or(0), push.perm.len()) else { return false };
    let new = push.perm[axis];
    set_axis(net, push.node, new);
    transpose_inputs(net, push.node, push.inverse, push.inputs);
    let after = if keep { push.perm.to_vec() } else { squeezed(&[new], push.perm) };
    transpose_outputs(net, push.node, &after);
    true
}

/// Axes from an attribute (before opset 13) or a constant.
fn axes_of(net: &Net, id: OpId) -> Option<Vec<i64>> {
    let op = net.op(id);
    if net.opset() < 13 { op.ints("axes").map(<[i64]>::to_vec) } else { net.constant_ints(op.input(1)?) }
}

fn squeeze(net: &mut Net, push: &Push<'_>) -> bool {
    let Some(axes) = axes_of(net, push.node).and_then(|axes| normalized(&axes, push.perm.len())) else { return false };
    let new = sorted_axes(&axes, push.perm);
    let by_attribute = net.opset() < 13;
    set_axes(net, push.node, &new, by_attribute);
    transpose_input(net, push.node, 0, push.inverse);
    transpose_outputs(net, push.node, &squeezed(&new, push.perm));
    true
}

fn unsqueeze(net: &mut Net, push: &Push<'_>) -> bool {
    let axes = axes_of(net, push.node).and_then(|axes| normalized(&axes, push.perm.len() + axes.len()));
    let Some(axes) = axes else { return false };
    transpose_input(net, push.node, 0, push.inverse);
    transpose_output(net, push.node, 0, &unsqueezed(&axes, push.perm));
    true
}

fn slice(net: &mut Net, push: &Push<'_>) -> bool {
    let rank = push.perm.len();
    let turn = |axes: &[i64]| -> Vec<i64> { axes.iter().map(|axis| push.perm[*axis as usize]).collect() };
    let op = net.op(push.node);
    if net.opset() < 10 {
        let n = op.ints("starts").map_or(0, <[i64]>::len) as i64;
        let axes = op.ints("axes").map_or_else(|| (0..n).collect(), <[i64]>::to_vec);
        let Some(axes) = normalized(&axes, rank) else { return false };
        net.set_attribute(push.node, "axes", AttributeValue::Ints(turn(&axes)));
    } else {
        let axes = match op.input(3) {
            None => match net.input_shape(push.node, 1) {
                Some([onnxfit_graph::Dim::Known(n)]) if *n as usize <= rank => (0..*n).collect(),
                _ => return false,
            },
            Some(arg) => match net.constant_ints(arg).and_then(|axes| normalized(&axes, rank)) {
                Some(axes) => axes,
                None => return false,
            },
        };
        let like = op.input(3).or(op.input(1)).and_then(|arg| net.arg(arg).elem);
        let new = add_ints_like(net, &turn(&axes), like);
        net.set_input(push.node, 3, Some(new));
    }
    transpose_input(net, push.node, 0, push.inverse);
    transpose_outputs(net, push.node, push.perm);
    true
}

fn add_ints_like(net: &mut Net, values: &[i64], elem: Option<onnxfit_onnx::DataType>) -> ArgId {
    if elem != Some(onnxfit_onnx::DataType::Int32) {
        return add_ints(net, values);
    }
    let raw: Vec<u8> = values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect();
    net.add_constant(onnxfit_onnx::proto::TensorProto::from_raw(
        "const_transpose_optimizer",
        onnxfit_onnx::DataType::Int32,
        &[values.len() as i64],
        raw,
    ))
}

fn gather(net: &mut Net, push: &Push<'_>) -> bool {
    let op = net.op(push.node);
    let Some(axis) = axis_from_front(op.int("axis").unwrap_or(0), push.perm.len()) else { return false };
    if net.input_constant(push.node, 1).is_none_or(|indices| !indices.dims.is_empty()) {
        return false;
    }
    let new = push.perm[axis];
    set_axis(net, push.node, new);
    transpose_input(net, push.node, 0, push.inverse);
    transpose_outputs(net, push.node, &squeezed(&[new], push.perm));
    true
}

fn tile(net: &mut Net, push: &Push<'_>) -> bool {
    permute_input(net, push.node, 1, push.inverse);
    transpose_input(net, push.node, 0, push.inverse);
    transpose_outputs(net, push.node, push.perm);
    true
}

fn quantize(net: &mut Net, push: &Push<'_>) -> bool {
    let scalar = net.input_shape(push.node, 1).is_some_and(<[_]>::is_empty);
    if net.opset() >= 13 && !scalar {
        let axis = net.op(push.node).int("axis").unwrap_or(1);
        let Some(axis) = axis_from_front(axis, push.perm.len()) else { return false };
        set_axis(net, push.node, push.perm[axis]);
    }
    transpose_input(net, push.node, 0, push.inverse);
    transpose_outputs(net, push.node, push.perm);
    true
}

/// Two transposes in a row become one, or none.
fn transpose(net: &mut Net, push: &Push<'_>) -> bool {
    match stated_perm(net, push.node).filter(|perm| perm.len() == push.perm.len()) {
        Some(perm) => merge(net, push, &perm),
        None => false,
    }
}

/// Lets a node that acts as a transpose take over the one before it (`HandleTransposeImpl`).
pub(super) fn merge(net: &mut Net, push: &Push<'_>, perm: &[i64]) -> bool {
    let before = net.op(push.transpose).input(0);
    if push.inverse == perm {
        cancel(net, push, before);
        return true;
    }
    let composed = compose(push.perm, perm);
    if net.op(push.node).op_type == "Reshape" {
        let (new, _) = add_node(net, push.node, "Transpose", vec![before]);
        net.set_attribute(new, "perm", AttributeValue::Ints(composed));
        let output = net.op(push.node).output(0);
        net.remove_op(push.node);
        net.set_output(new, 0, output);
    } else {
        net.set_input(push.node, 0, before);
        net.set_attribute(push.node, "perm", AttributeValue::Ints(composed));
    }
    drop_if_unread(net, push.transpose);
    true
}

fn drop_if_unread(net: &mut Net, id: OpId) {
    if net.get(id).is_some() && !net.has_output_edges(id) && !net.makes_graph_output(id) {
        net.remove_op(id);
    }
}

fn cancel(net: &mut Net, push: &Push<'_>, before: Option<ArgId>) {
    let (Some(before), Some(output)) = (before, net.op(push.node).output(0)) else { return };
    if is_comprehensive(net, output) {
        net.replace_uses(output, before);
        net.remove_op(push.node);
    } else if let Some((producer, index)) = net.arg(before).producer.filter(|_| is_comprehensive(net, before)) {
        net.remove_op(push.node);
        net.replace_uses(before, output);
        net.set_output(producer, index, Some(output));
    } else {
        let (identity, _) = add_node(net, push.node, "Identity", vec![Some(before)]);
        net.remove_op(push.node);
        net.set_output(identity, 0, Some(output));
    }
    drop_if_unread(net, push.transpose);
}
