//! The nodes of a layer normalization become one: layer_norm_fusion.cc (ORT 1.31).
//!
//! From opset 17 on in level 1, all providers; before that in level 2, CPU and CUDA.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, has_types, runs_on};
use crate::rewrite::net::{ArgId, Net, Op, OpId};
use crate::rewrite::{Context, Provider, content};

const TYPES: &[DataType] = &[DataType::Float16, DataType::Float, DataType::Double, DataType::Bfloat16];

/// Level 1: only where ONNX has the operator.
pub(crate) fn level_1(net: &mut Net, _: &Context<'_>) -> usize {
    if net.opset() >= 17 { fuse(net, |_, _| true) } else { 0 }
}

/// Level 2: before ONNX had the operator.
pub(crate) fn level_2(net: &mut Net, _: &Context<'_>) -> usize {
    if net.opset() >= 17 { 0 } else { fuse(net, |net, id| runs_on(net, id, CPU_AND_CUDA)) }
}

struct Match {
    nodes: Vec<OpId>,
    inputs: [ArgId; 3],
    epsilon: f32,
    axis: i64,
    mul: OpId,
}

fn fuse(net: &mut Net, allowed: fn(&Net, OpId) -> bool) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        if !net.get(id).is_some_and(|op| op.is("ReduceMean")) || !allowed(net, id) {
            continue;
        }
        let Some(found) = matched(net, id) else { continue };
        let inputs = found.inputs.iter().copied().map(Some).collect();
        let mut new = Op { op_type: "LayerNormalization".to_owned(), inputs, ..Op::default() };
        new.attributes.insert("epsilon".to_owned(), AttributeValue::Float(found.epsilon));
        new.attributes.insert("axis".to_owned(), AttributeValue::Int(found.axis));
        let name = format!("{}/LayerNormFusion/", net.op(found.mul).name);
        let new = net.add_op(id, &name, new);
        net.fuse(&found.nodes, new);
        n_fused += 1;
    }
    n_fused
}

/// The one axis that a reduction goes along, counted from the back, if it is the last.
pub(super) fn last_axis(net: &Net, id: OpId) -> Option<i64> {
    let op = net.op(id);
    let axes = op.ints("axes").map(<[i64]>::to_vec).or_else(|| net.constant_ints(op.input(1)?))?;
    let [axis] = axes.as_slice() else { return None };
    let axis = if *axis > 0 { axis - net.input_shape(id, 0)?.len() as i64 } else { *axis };
    (axis == -1).then_some(axis)
}

/// The small number added before the root; ONNX Runtime takes 1e-5 when it cannot tell.
pub(super) fn epsilon(net: &Net, arg: Option<ArgId>) -> f32 {
    let tensor = arg.and_then(|arg| net.constant(arg));
    let value = tensor
        .filter(|tensor| {
            tensor.element_type() == Ok(DataType::Float) && crate::rewrite::content::count(&tensor.dims) == 1
        })
        .and_then(|tensor| content::first_float(tensor));
    value.map_or(1e-5, |value| value as f32)
}

fn matched(net: &Net, mean: OpId) -> Option<Match> {
    let like = |id: OpId, op_type: &str| net.op(id).is(op_type) && net.same_provider(mean, id);
    let typed = |id: OpId| has_types(net, id, TYPES, usize::MAX);
    let only = |id: OpId, n: usize| net.has_only_edges(id, n);
    let n_readers = net.n_output_edges(mean);
    if !(1..=2).contains(&n_readers) || net.makes_graph_output(mean) || !has_types(net, mean, TYPES, 1) {
        return None;
    }
    let x = net.op(mean).input(0)?;
    let averaged = net.op(mean).output(0)?;
    let subs: Vec<OpId> = net.output_edges(mean).iter().map(|edge| edge.op).collect();
    if subs.iter().any(|sub| !like(*sub, "Sub") || !typed(*sub) || super::other_input(net, *sub, averaged) != Some(x)) {
        return None;
    }
    let sub = subs[0];
    let twin = subs.get(1).copied();
    let mut nodes = vec![mean, sub];
    let leading = net.producer(x).filter(|cast| like(*cast, "Cast") && only(*cast, subs.len() + 1));
    if let Some(cast) = leading {
        nodes.insert(0, cast);
    }
    let mut after_sub = None;
    if twin.is_none() && net.n_output_edges(sub) == 1 {
        let cast = net.first_child(sub)?;
        if like(cast, "Cast") && only(cast, 2) && typed(cast) {
            after_sub = Some(cast);
            nodes.push(cast);
        }
    }
    if !only(sub, if twin.is_none() && after_sub.is_none() { 2 } else { 1 }) {
        return None;
    }
    let mut div = net.first_child_of_type(after_sub.unwrap_or(sub), "Div");
    if let Some(twin) = twin {
        nodes.push(twin);
        div = div.or_else(|| net.first_child_of_type(twin, "Div"));
    }
    let div = div.filter(|div| like(*div, "Div") && only(*div, 1) && typed(*div))?;
    nodes.push(div);
    let sqrt =
        net.first_parent_of_type(div, "Sqrt").filter(|sqrt| like(*sqrt, "Sqrt") && only(*sqrt, 1) && typed(*sqrt))?;
    let add = net.producer_of_input(sqrt, 0).filter(|add| like(*add, "Add") && only(*add, 1) && typed(*add))?;
    let mean2 = net.first_parent_of_type(add, "ReduceMean")?;
    if !like(mean2, "ReduceMean") || !only(mean2, 1) || !has_types(net, mean2, TYPES, 1) {
        return None;
    }
    let pow = net.producer_of_input(mean2, 0).filter(|pow| like(*pow, "Pow") && only(*pow, 1) && typed(*pow))?;
    nodes.extend([sqrt, add, mean2, pow]);
    match net.first_parent_of_type(pow, "Cast") {
        Some(cast) if Some(cast) != after_sub => {
            if !like(cast, "Cast") || !only(cast, 1) {
                return None;
            }
            nodes.push(cast);
        }
        Some(_) => {}
        None => {
            net.first_parent_of_type(pow, "Sub").filter(|parent| subs.contains(parent))?;
        }
    }
    let mut mul = net.first_child(div)?;
    if net.op(mul).is("Cast") && only(mul, 1) {
        nodes.push(mul);
        mul = net.first_child(mul)?;
    }
    if !like(mul, "Mul") || !only(mul, 1) || !typed(mul) {
        return None;
    }
    let last = net.only_child(mul, "Add").filter(|last| like(*last, "Add") && typed(*last))?;
    nodes.extend([mul, last]);
    let axis = last_axis(net, mean)?;
    if last_axis(net, mean2)? != axis {
        return None;
    }
    let vector = |id: OpId| {
        let inputs = net.op(id).inputs.iter().flatten().copied();
        inputs.filter(|arg| net.arg(*arg).shape.as_ref().is_some_and(|shape| shape.len() == 1)).last()
    };
    let (scale, bias) = (vector(mul)?, vector(last)?);
    if net.arg(scale).static_shape() != net.arg(bias).static_shape() {
        return None;
    }
    let x = match leading {
        Some(cast) => net.op(cast).input(0)?,
        None => x,
    };
    if net.op(mean).provider == Some(Provider::Cpu) && net.arg(x).elem == Some(DataType::Float16) {
        return None;
    }
    Some(Match { nodes, inputs: [x, scale, bias], epsilon: epsilon(net, net.op(add).input(1)), axis, mul })
}
