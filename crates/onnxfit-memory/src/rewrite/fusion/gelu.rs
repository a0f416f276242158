//! `x * 0.5 * (1 + erf(x / sqrt 2))` becomes `Gelu`: gelu_fusion.cc (ORT 1.31).
//!
//! From opset 20 on in level 1, all providers; before that in level 2, CPU and CUDA, as ONNX
//! Runtime's own operator.

use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, has_types, runs_on};
use crate::rewrite::net::{Net, Op, OpId};
use crate::rewrite::{Context, MS};

const TYPES: &[DataType] = &[DataType::Float16, DataType::Float, DataType::Double];

/// Level 1: only where ONNX has the operator.
pub(crate) fn level_1(net: &mut Net, _: &Context<'_>) -> usize {
    if net.opset() >= 20 { fuse(net, "", |_, _| true) } else { 0 }
}

/// Level 2: ONNX Runtime's operator.
pub(crate) fn level_2(net: &mut Net, _: &Context<'_>) -> usize {
    if net.opset() >= 20 { 0 } else { fuse(net, MS, |net, id| runs_on(net, id, CPU_AND_CUDA)) }
}

fn fuse(net: &mut Net, domain: &str, allowed: fn(&Net, OpId) -> bool) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        if !net.get(id).is_some_and(|op| op.is("Div")) || !allowed(net, id) {
            continue;
        }
        let Some(nodes) = matched(net, id) else { continue };
        let inputs = vec![net.op(id).input(0)];
        let new = Op { op_type: "Gelu".to_owned(), domain: domain.to_owned(), inputs, ..Op::default() };
        let new = net.add_op(id, "Gelu", new);
        net.fuse(&nodes, new);
        n_fused += 1;
    }
    n_fused
}

/// The nodes of the pattern, the last one last.
fn matched(net: &Net, div: OpId) -> Option<Vec<OpId>> {
    let next = |id: OpId, op_type: &str| {
        let child = net.only_child(id, op_type)?;
        (net.same_provider(div, child) && has_types(net, child, TYPES, usize::MAX)).then_some(child)
    };
    let root = net.op(div).input(0)?;
    let divisor = net.op(div).input(1);
    let is_root_two =
        net.is_scalar_close_to(divisor, 1.414_209_9) || net.is_scalar_close_to(divisor, std::f32::consts::SQRT_2);
    if !net.has_only_edges(div, 1) || !has_types(net, div, TYPES, usize::MAX) || !is_root_two {
        return None;
    }
    let erf = next(div, "Erf").filter(|erf| net.has_only_edges(*erf, 1))?;
    let add = next(erf, "Add").filter(|add| net.has_only_edges(*add, 1))?;
    let one = super::other_input(net, add, net.op(erf).output(0)?);
    if !net.is_scalar_close_to(one, 1.0) {
        return None;
    }
    let mul = next(add, "Mul")?;
    if let Some(half) = net.first_parent_of_type(mul, "Mul") {
        let fits = net.op(half).is("Mul") && net.same_provider(div, half) && net.has_only_edges(half, 1);
        let constant = super::other_input(net, half, root).filter(|_| fits && has_types(net, half, TYPES, usize::MAX));
        return net.is_scalar_close_to(constant, 0.5).then(|| vec![div, erf, add, half, mul]);
    }
    if !net.has_only_edges(mul, 1) || net.op(mul).index_of_input(root).is_none() {
        return None;
    }
    let half = net.only_child(mul, "Mul")?;
    let constant = super::other_input(net, half, net.op(mul).output(0)?);
    net.is_scalar_close_to(constant, 0.5).then(|| vec![div, erf, add, mul, half])
}
