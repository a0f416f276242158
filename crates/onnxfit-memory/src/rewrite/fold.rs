//! Constant folding: nodes that read only initializers become initializers.
//!
//! constant_folding.cc (ORT 1.31), all providers, level 1. A node is folded only if its output
//! size can be told from inferred shapes beforehand (since 1.27). What the result holds matters
//! only where a shape may depend on it: there the evaluator computes it, everywhere else the
//! initializer is known by type and shape.

mod arithmetic;
mod evaluate;
mod inline;
mod moves;
mod value;

use std::hash::{DefaultHasher, Hash, Hasher};

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::content;
use super::net::{ArgId, Net, OpId};
use super::{Context, MS, kernels};
use evaluate::{Call, evaluate};
use value::{Data, Value};

/// Folds what can be folded; returns how many nodes went.
pub(super) fn fold_constants(net: &mut Net, context: &Context<'_>) -> usize {
    let mut n_folded = 0;
    for id in net.topological_order() {
        if net.get(id).is_none() {
            continue;
        }
        if n_folded > 0 && net.op(id).bodies.is_empty() {
            net.resolve_op(id);
        }
        let folded = match net.op(id).op_type.as_str() {
            "If" => {
                if inline::inline_if(net, id) {
                    n_folded += 1;
                }
                continue;
            }
            "Shape" => fold_shape(net, id),
            _ => fold_node(net, id, context),
        };
        let Some(results) = folded else { continue };
        let op = net.op(id);
        let outputs = op.outputs.clone();
        let parents: Vec<OpId> = op.inputs.iter().flatten().filter_map(|arg| net.producer(*arg)).collect();
        for parent in parents {
            if net.get(parent).is_some() {
                net.remove_upwards(parent);
            }
        }
        net.remove_op(id);
        for (output, tensor) in outputs.into_iter().zip(results) {
            if let (Some(output), Some(tensor)) = (output, tensor) {
                net.set_constant(output, tensor);
            }
        }
        n_folded += 1;
    }
    n_folded
}

/// A `Shape` node folds as soon as the shape of its input is known.
fn fold_shape(net: &Net, id: OpId) -> Option<Vec<Option<TensorProto>>> {
    let op = net.op(id);
    let dims = net.arg(op.input(0)?).static_shape()?;
    let rank = dims.len() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank);
    let start = place(op.int("start").unwrap_or(0));
    let end = place(op.int("end").unwrap_or(i64::MAX)).max(start);
    let values = &dims[start as usize..end as usize];
    Some(vec![Some(TensorProto::from_i64("", &[values.len() as i64], values))])
}

/// Whether an operator gives the same result every time (`IsOperationDeterministic`).
pub(super) fn is_deterministic(domain: &str, op_type: &str) -> bool {
    match domain {
        "" => !matches!(
            op_type,
            "RandomUniform" | "RandomNormal" | "RandomUniformLike" | "RandomNormalLike" | "Multinomial" | "Dropout"
        ),
        MS => matches!(op_type, "QuantizeLinear" | "DequantizeLinear"),
        _ => false,
    }
}

fn can_fold(net: &Net, id: OpId, check_inputs: bool) -> bool {
    let op = net.op(id);
    is_deterministic(&op.domain, &op.op_type)
        && op.bodies.is_empty()
        && (!check_inputs || op.inputs.iter().flatten().all(|arg| net.is_constant(*arg)))
}

fn fold_node(net: &Net, id: OpId, context: &Context<'_>) -> Option<Vec<Option<TensorProto>>> {
    if !can_fold(net, id, true) {
        return None;
    }
    let op = net.op(id);
    if op.op_type == "DequantizeLinear" && !can_fold_quantized(net, id) {
        return None;
    }
    let limit = context.options.constant_folding_max_bytes;
    let size = estimated_bytes(net, id);
    if limit > 0 && (size? > limit) {
        return None;
    }
    let element_types: Vec<DataType> = op.inputs.iter().flatten().filter_map(|arg| net.arg(*arg).elem).collect();
    if !kernels::cpu_has(&op.domain, &op.op_type, &element_types) {
        return None;
    }
    if let Some(results) = computed(net, id) {
        return Some(results);
    }
    // The content is out of reach, but the type and shape are known.
    op.outputs
        .iter()
        .enumerate()
        .map(|(index, output)| match output {
            None => Some(None),
            Some(output) => {
                let arg = net.arg(*output);
                if let Some(known) = known_otherwise(net, context, *output) {
                    return Some(Some(known));
                }
                let making = making(net, id, index);
                Some(Some(content::made(&arg.name, arg.elem?, &arg.static_shape()?, making)))
            }
        })
        .collect()
}

/// More elements are not asked for: shapes, axes, pads and scales have fewer.
const ASKED_MAX: usize = 64;

/// What shape inference knows a small value to hold: it knows more operators than the evaluator.
fn known_otherwise(net: &Net, context: &Context<'_>, output: ArgId) -> Option<TensorProto> {
    let arg = net.arg(output);
    let elem = arg.elem.filter(|elem| matches!(elem, DataType::Int64 | DataType::Int32 | DataType::Float))?;
    let dims: Vec<usize> =
        arg.static_shape()?.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().ok()?;
    if arg.origin.is_none() || value::volume(&dims) > ASKED_MAX {
        return None;
    }
    let fact = context.fact(&arg.name)?;
    let is_same = fact.concrete()?.iter().eq(dims.iter().map(|dim| *dim as u64).collect::<Vec<_>>().iter());
    let data = match elem {
        DataType::Float => Data::Floats(fact.known_floats()?),
        _ => Data::Ints(fact.known_ints()?),
    };
    is_same.then(|| Value { elem, dims, data }.to_tensor())
}

/// A number that is equal for results of equal nodes over equal constants.
fn making(net: &Net, id: OpId, output: usize) -> u64 {
    let op = net.op(id);
    let mut hasher = DefaultHasher::new();
    (&op.domain, &op.op_type, output).hash(&mut hasher);
    for (name, value) in &op.attributes {
        (name, format!("{value:?}")).hash(&mut hasher);
    }
    for input in &op.inputs {
        input.and_then(|arg| net.constant(arg)).map(|tensor| content::identity(tensor)).hash(&mut hasher);
    }
    // Above zero, and within what a file's offset can say.
    (hasher.finish() >> 1) | 1
}

/// A dequantization folds only together with the quantization that follows.
fn can_fold_quantized(net: &Net, id: OpId) -> bool {
    if !net.has_only_edges(id, 1) {
        return false;
    }
    let Some(middle) = net.first_child(id) else { return false };
    let op = net.op(middle);
    if op.inputs.len() != 1 || op.outputs.len() != 1 || !net.has_only_edges(middle, 1) {
        return false;
    }
    net.first_child(middle).is_some_and(|last| {
        net.op(last).op_type == "QuantizeLinear" && can_fold(net, middle, false) && can_fold(net, last, false)
    })
}

fn computed(net: &Net, id: OpId) -> Option<Vec<Option<TensorProto>>> {
    let op = net.op(id);
    let mut inputs = Vec::with_capacity(op.inputs.len());
    for input in &op.inputs {
        inputs.push(match input {
            None => None,
            Some(arg) => Some(Value::of(net.constant(*arg)?)?),
        });
    }
    let values = evaluate(&Call { op, inputs })?;
    // What shape inference knows must agree, or the evaluator has misread the node.
    let agrees =
        op.outputs.iter().zip(&values).all(|(output, value)| output.is_none_or(|output| agrees(net, output, value)));
    (agrees && values.len() >= op.outputs.len())
        .then(|| op.outputs.iter().zip(&values).map(|(output, value)| output.map(|_| value.to_tensor())).collect())
}

fn agrees(net: &Net, output: ArgId, value: &Value) -> bool {
    let arg = net.arg(output);
    arg.elem.is_none_or(|elem| elem == value.elem)
        && arg.shape.as_ref().is_none_or(|shape| {
            shape.len() == value.dims.len()
                && shape.iter().zip(&value.dims).all(|(dim, have)| match dim {
                    Dim::Known(want) => *want == *have as i64,
                    _ => true,
                })
        })
}

/// The bytes of all outputs, if inferred shapes tell (`EstimateNodeOutputSizeInBytes`).
fn estimated_bytes(net: &Net, id: OpId) -> Option<u64> {
    let op = net.op(id);
    let bytes_of = |arg: ArgId| {
        let arg = net.arg(arg);
        let n = arg.static_shape()?.iter().try_fold(1u64, |n, dim| n.checked_mul(u64::try_from(*dim).ok()?))?;
        // Strings count as the slots that hold them.
        if arg.elem? == DataType::String { n.checked_mul(32) } else { arg.elem?.packed_bytes(n) }
    };
    if op.is("Identity") {
        return bytes_of(op.input(0)?);
    }
    if op.is("ConstantOfShape")
        && let Some(dims) = op.input(0).and_then(|arg| net.constant_ints(arg))
    {
        let elem = op.tensor("value").map_or(Some(DataType::Float), |tensor| tensor.element_type().ok())?;
        let n = dims.iter().try_fold(1u64, |n, dim| n.checked_mul(u64::try_from(*dim).ok()?))?;
        return elem.packed_bytes(n);
    }
    op.outputs.iter().flatten().try_fold(0u64, |total, arg| total.checked_add(bytes_of(*arg)?))
}

/// A constant with its dimensions in another order.
pub(super) fn transposed(tensor: &TensorProto, perm: &[i64]) -> TensorProto {
    let elem = tensor.element_type().unwrap_or(DataType::Float);
    let dims: Vec<i64> = perm.iter().map(|axis| tensor.dims.get(*axis as usize).copied().unwrap_or(1)).collect();
    let mut op = super::net::Op { op_type: "Transpose".to_owned(), ..Default::default() };
    op.attributes.insert("perm".to_owned(), onnxfit_graph::AttributeValue::Ints(perm.to_vec()));
    let value = Value::of(tensor).and_then(|value| evaluate(&Call { op: &op, inputs: vec![Some(value)] })?.pop());
    value.map_or_else(|| content::placeholder(tensor.name(), elem, &dims), |value| value.to_tensor())
}
