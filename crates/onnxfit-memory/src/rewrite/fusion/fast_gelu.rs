//! The tanh form of Gelu becomes `FastGelu`: fast_gelu_fusion.cc (ORT 1.31). CPU and CUDA.

use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, has_types, other_input, runs_on};
use crate::rewrite::net::{ArgId, Net, Op, OpId};
use crate::rewrite::{Context, MS, Provider};

/// What both formulas lead to.
struct Match {
    nodes: Vec<OpId>,
    input: ArgId,
    before_tanh: OpId,
}

/// Fuses both ways of writing it.
pub(crate) fn fast_gelu(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        if net.get(id).is_none() || !runs_on(net, id, CPU_AND_CUDA) {
            continue;
        }
        let Some(found) = first_formula(net, id).or_else(|| second_formula(net, id)) else { continue };
        let Some(nodes) = tail(net, id, found.before_tanh, found.input, found.nodes) else { continue };
        let inputs = vec![Some(found.input)];
        let new = Op { op_type: "FastGelu".to_owned(), domain: MS.to_owned(), inputs, ..Op::default() };
        let new = net.add_op(id, "GPT2Gelu", new);
        net.fuse(&nodes, new);
        n_fused += 1;
    }
    n_fused
}

fn check(net: &Net, id: OpId, like: OpId, op_type: &str, single: bool) -> bool {
    let types: &[DataType] = match net.op(id).provider {
        Some(Provider::Cpu) => &[DataType::Float],
        _ => &[DataType::Float16, DataType::Float, DataType::Bfloat16],
    };
    net.op(id).is(op_type)
        && net.same_provider(id, like)
        && has_types(net, id, types, usize::MAX)
        && (!single || net.n_output_edges(id) == 1)
        && !net.makes_graph_output(id)
}

fn child(net: &Net, id: OpId, like: OpId, op_type: &str, single: bool) -> Option<OpId> {
    net.first_child(id).filter(|child| check(net, *child, like, op_type, single))
}

/// The input that is not a constant close to `value`.
fn beside_constant(net: &Net, id: OpId, value: f32) -> Option<ArgId> {
    let op = net.op(id);
    (0..2).find(|input| net.is_scalar_close_to(op.input(*input), value)).and_then(|input| op.input(1 - input))
}

/// `x * 0.7978 * (1 + x * x * 0.0447)`
fn first_formula(net: &Net, mul1: OpId) -> Option<Match> {
    if !check(net, mul1, mul1, "Mul", true) || net.op(mul1).inputs.len() != 2 {
        return None;
    }
    let input = beside_constant(net, mul1, 0.044_715)?;
    let mul2 = child(net, mul1, mul1, "Mul", true)?;
    if other_input(net, mul2, net.op(mul1).output(0)?)? != input {
        return None;
    }
    let add = child(net, mul2, mul1, "Add", true)?;
    if !net.is_scalar_close_to(other_input(net, add, net.op(mul2).output(0)?), 1.0) {
        return None;
    }
    let mul3 = child(net, add, mul1, "Mul", true)?;
    let mul4 = net.producer(other_input(net, mul3, net.op(add).output(0)?)?)?;
    if !check(net, mul4, mul1, "Mul", true) || beside_constant(net, mul4, 0.797_884_6)? != input {
        return None;
    }
    Some(Match { nodes: vec![mul1, mul2, add, mul3, mul4], input, before_tanh: mul3 })
}

/// `0.7978 * (x + 0.0447 * x ** 3)`
fn second_formula(net: &Net, pow: OpId) -> Option<Match> {
    let op = net.op(pow);
    if !check(net, pow, pow, "Pow", true) || !net.is_scalar_close_to(op.input(1), 3.0) {
        return None;
    }
    let input = op.input(0)?;
    let mul1 = child(net, pow, pow, "Mul", true)?;
    if !net.is_scalar_close_to(other_input(net, mul1, op.output(0)?), 0.044_715) {
        return None;
    }
    let add = child(net, mul1, pow, "Add", true)?;
    if other_input(net, add, net.op(mul1).output(0)?)? != input {
        return None;
    }
    let mul2 = child(net, add, pow, "Mul", true)?;
    if !net.is_scalar_close_to(other_input(net, mul2, net.op(add).output(0)?), 0.797_884_6) {
        return None;
    }
    Some(Match { nodes: vec![pow, mul1, add, mul2], input, before_tanh: mul2 })
}

/// `(1 + tanh(.)) * (0.5 * x)`
fn tail(net: &Net, first: OpId, before: OpId, input: ArgId, mut nodes: Vec<OpId>) -> Option<Vec<OpId>> {
    let tanh = child(net, before, first, "Tanh", true)?;
    let add = child(net, tanh, first, "Add", true)?;
    if !net.is_scalar_close_to(other_input(net, add, net.op(tanh).output(0)?), 1.0) {
        return None;
    }
    let last = child(net, add, first, "Mul", false)?;
    let half = net.producer(other_input(net, last, net.op(add).output(0)?)?)?;
    if !check(net, half, first, "Mul", false) || beside_constant(net, half, 0.5)? != input {
        return None;
    }
    nodes.extend([tanh, add, half, last]);
    Some(nodes)
}
