//! Transposing the inputs and outputs of a node, cancelling what cancels.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::proto::TensorProto;

use super::perm::{compose, invert, is_identity, unsqueezed};
use super::stated_perm;
use crate::rewrite::net::{ArgId, Net, Op, OpId, Use};
use crate::rewrite::{content, fold};

/// Whether all readers of a value are known: no graph output, no body.
pub(super) fn is_comprehensive(net: &Net, arg: ArgId) -> bool {
    !net.arg(arg).is_output && net.arg(arg).uses.iter().all(|reading| reading.slot < net.op(reading.op).inputs.len())
}

fn permuted(shape: Option<&Vec<Dim>>, perm: &[i64]) -> Option<Vec<Dim>> {
    let shape = shape.filter(|shape| shape.len() == perm.len())?;
    Some(perm.iter().map(|axis| shape[*axis as usize].clone()).collect())
}

/// A new node with one output, both named as the runtime does.
pub(super) fn add_node(net: &mut Net, like: OpId, op_type: &str, inputs: Vec<Option<ArgId>>) -> (OpId, ArgId) {
    let id = net.add_op(like, op_type, Op { op_type: op_type.to_owned(), inputs, ..Op::default() });
    let name = format!("{}_out0", net.op(id).name);
    let output = net.add_arg(&name, None, None);
    net.set_output(id, 0, Some(output));
    (id, output)
}

fn add_transpose(net: &mut Net, like: OpId, input: Option<ArgId>, perm: &[i64]) -> (OpId, ArgId) {
    let (id, output) = add_node(net, like, "Transpose", vec![input]);
    net.set_attribute(id, "perm", AttributeValue::Ints(perm.to_vec()));
    (id, output)
}

/// Copies what is known of a value, permuted.
fn describe(net: &mut Net, to: ArgId, like: ArgId, perm: &[i64]) {
    let (elem, shape) = (net.arg(like).elem, permuted(net.arg(like).shape.as_ref(), perm));
    let arg = net.arg_mut(to);
    arg.elem = elem;
    arg.shape = shape;
    net.mark_readers(to);
}

/// What is known of a value holds for another (`CopyValueInfo`).
fn copy_type(net: &mut Net, from: ArgId, to: ArgId) {
    let (elem, shape) = (net.arg(from).elem, net.arg(from).shape.clone());
    let arg = net.arg_mut(to);
    arg.elem = elem;
    arg.shape = shape;
}

fn others(net: &Net, arg: ArgId, reading: Use) -> Vec<Use> {
    net.arg(arg).uses.iter().copied().filter(|other| *other != reading).collect()
}

/// An initializer of whole numbers.
pub(super) fn add_ints(net: &mut Net, values: &[i64]) -> ArgId {
    net.add_constant(TensorProto::from_i64("const_transpose_optimizer", &[values.len() as i64], values))
}

/// Transposes one input (`TransposeInputImpl`).
pub(super) fn transpose_input(net: &mut Net, id: OpId, slot: usize, perm: &[i64]) {
    let Some(input) = net.op(id).input(slot) else { return };
    let inverse = invert(perm);
    let reading = Use { op: id, slot };
    let rest = others(net, input, reading);
    let comprehensive = {
        let arg = net.arg(input);
        !arg.is_output && rest.iter().all(|other| other.slot < net.op(other.op).inputs.len())
    };
    let is_local = net.arg(input).constant.is_some() && net.is_constant(input);
    if let Some(tensor) = net.arg(input).constant.clone().filter(|_| is_local && comprehensive) {
        if crate::rewrite::content::count(&tensor.dims) == 1 {
            return;
        }
        if tensor.dims == [perm.len() as i64] {
            let new = net.add_constant(permuted_vector(&tensor, perm));
            net.set_input(id, slot, Some(new));
            return;
        }
        if !rest.is_empty() {
            net.set_input(id, slot, None);
            let (_, output) = add_transpose(net, id, Some(input), &inverse);
            copy_type(net, input, output);
            for other in rest {
                net.set_input(other.op, other.slot, Some(output));
            }
            net.set_input(id, slot, Some(input));
        }
        let turned = fold::transposed(&tensor, perm);
        net.set_constant(input, turned);
        return;
    }
    if let Some(producer) = net.producer(input)
        && let Some(other) = stated_perm(net, producer).filter(|other| other.len() == perm.len())
    {
        let before = net.op(producer).input(0);
        if other == inverse {
            net.set_input(id, slot, before);
        } else {
            let (_, output) = add_transpose(net, id, before, &compose(&other, perm));
            describe(net, output, input, perm);
            net.set_input(id, slot, Some(output));
        }
        if comprehensive && rest.is_empty() {
            net.remove_op(producer);
        }
        return;
    }
    let sibling = rest.iter().map(|other| other.op).find(|other| stated_perm(net, *other).as_deref() == Some(perm));
    if let Some(sibling) = sibling {
        let output = net.op(sibling).output(0);
        net.set_input(id, slot, output);
        return;
    }
    let (_, output) = add_transpose(net, id, Some(input), perm);
    describe(net, output, input, perm);
    net.set_input(id, slot, Some(output));
}

/// The elements of a vector in another order.
pub(super) fn permuted_vector(tensor: &TensorProto, perm: &[i64]) -> TensorProto {
    let name = "const_transpose_optimizer";
    let elem = tensor.element_type().unwrap_or(onnxfit_onnx::DataType::Int64);
    match tensor.inline_bytes() {
        Ok(Some(bytes)) if !perm.is_empty() && bytes.len() % perm.len() == 0 => {
            let width = bytes.len() / perm.len();
            let chunks = perm.iter().flat_map(|at| bytes[*at as usize * width..][..width].iter().copied());
            TensorProto::from_raw(name, elem, &tensor.dims, chunks.collect::<Vec<u8>>())
        }
        _ => content::placeholder(name, elem, &tensor.dims),
    }
}

/// Transposes several inputs.
pub(super) fn transpose_inputs(net: &mut Net, id: OpId, perm: &[i64], inputs: &[usize]) {
    for slot in inputs {
        transpose_input(net, id, *slot, perm);
    }
}

/// Puts a transpose after an output; gives the value that has the old name.
pub(super) fn transpose_output(net: &mut Net, id: OpId, index: usize, perm: &[i64]) -> Option<ArgId> {
    let old = net.op(id).output(index)?;
    let (transpose, unused) = add_transpose(net, id, None, perm);
    let _ = unused;
    let name = format!("{}_out{index}", net.op(id).name);
    let new = net.add_arg(&name, None, None);
    net.set_output(id, index, Some(new));
    net.set_output(transpose, 0, Some(old));
    net.set_input(transpose, 0, Some(new));
    describe(net, new, old, &invert(perm));
    Some(old)
}

/// Puts transposes after all outputs.
pub(super) fn transpose_outputs(net: &mut Net, id: OpId, perm: &[i64]) {
    if is_identity(perm) {
        return;
    }
    for index in 0..net.op(id).outputs.len() {
        transpose_output(net, id, index, perm);
    }
}

/// Gives an input leading dimensions of 1 (`UnsqueezeInput`).
pub(super) fn unsqueeze_input(net: &mut Net, id: OpId, slot: usize, axes: &[i64]) {
    let Some(input) = net.op(id).input(slot) else { return };
    let rest = others(net, input, Use { op: id, slot });
    let comprehensive =
        !net.arg(input).is_output && rest.iter().all(|other| other.slot < net.op(other.op).inputs.len());
    let is_local = net.arg(input).constant.is_some() && net.is_constant(input);
    if let Some(tensor) = net.arg(input).constant.clone().filter(|_| is_local && comprehensive) {
        if !rest.is_empty() {
            net.set_input(id, slot, None);
            let (_, output) = add_squeeze(net, id, "Squeeze", input, axes);
            copy_type(net, input, output);
            for other in rest {
                net.set_input(other.op, other.slot, Some(output));
            }
            net.set_input(id, slot, Some(input));
        }
        let mut tensor = (*tensor).clone();
        let front = vec![1; axes.len()];
        tensor.dims = [front, tensor.dims].concat();
        net.set_constant(input, tensor);
        return;
    }
    let producer = net.producer(input);
    if let Some(squeeze) = producer.filter(|id| net.op(*id).is("Squeeze")) {
        let op = net.op(squeeze);
        let same = op.ints("axes").map(<[i64]>::to_vec).or_else(|| net.constant_ints(op.input(1)?));
        if same.as_deref() == Some(axes) {
            let before = op.input(0);
            net.set_input(id, slot, before);
            if comprehensive && rest.is_empty() {
                net.remove_op(squeeze);
            }
            return;
        }
    }
    let (unsqueeze, output) = add_squeeze(net, id, "Unsqueeze", input, axes);
    let (elem, shape) = (net.arg(input).elem, net.arg(input).shape.clone());
    let shape = shape.map(|shape| [vec![Dim::Known(1); axes.len()], shape].concat());
    let arg = net.arg_mut(output);
    arg.elem = elem;
    arg.shape = shape;
    if let Some(perm) = producer.and_then(|producer| stated_perm(net, producer)) {
        transpose_input(net, unsqueeze, 0, &invert(&perm));
        let new = transpose_output(net, unsqueeze, 0, &unsqueezed(axes, &perm));
        net.set_input(id, slot, new);
        return;
    }
    net.set_input(id, slot, Some(output));
}

fn add_squeeze(net: &mut Net, like: OpId, op_type: &str, input: ArgId, axes: &[i64]) -> (OpId, ArgId) {
    if net.opset() >= 13 {
        let list = add_ints(net, axes);
        return add_node(net, like, op_type, vec![Some(input), Some(list)]);
    }
    let (id, output) = add_node(net, like, op_type, vec![Some(input)]);
    net.set_attribute(id, "axes", AttributeValue::Ints(axes.to_vec()));
    (id, output)
}

/// Gives all inputs the same rank (`NormalizeInputRanks`).
pub(super) fn normalize_ranks(net: &mut Net, id: OpId, rank: usize, inputs: &[usize]) -> bool {
    let ranks: Option<Vec<usize>> = inputs.iter().map(|slot| net.input_shape(id, *slot).map(<[Dim]>::len)).collect();
    let Some(ranks) = ranks.filter(|ranks| ranks.iter().all(|have| *have <= rank)) else { return false };
    for (slot, have) in inputs.iter().zip(ranks) {
        if have < rank {
            let axes: Vec<i64> = (0..(rank - have) as i64).collect();
            unsqueeze_input(net, id, *slot, &axes);
        }
    }
    true
}
