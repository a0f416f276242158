//! Arithmetic that changes nothing: noop_elimination.cc (x+0, x-0, x*1, x/1) and
//! div_mul_fusion.cc (1/a*b is b/a), ORT 1.31. All providers.

use onnxfit_onnx::DataType;

use super::Effect;
use super::eliminate::constant_number;
use crate::rewrite::net::{Net, OpId};

/// Adding zero or multiplying by one goes.
pub(super) fn noop(net: &mut Net, id: OpId) -> Effect {
    let op = net.op(id);
    let is_sum = matches!(op.op_type.as_str(), "Add" | "Sub");
    let (first, second) = (net.input_is_constant(id, 0), net.input_is_constant(id, 1));
    if first == second || (first && matches!(op.op_type.as_str(), "Sub" | "Div")) {
        return Effect::None;
    }
    let constant_at = usize::from(second);
    let Some(tensor) = net.input_constant(id, constant_at) else { return Effect::None };
    let Some(other) = net.input_shape(id, 1 - constant_at) else { return Effect::None };
    if tensor.dims.len() > other.len() || crate::rewrite::content::count(&tensor.dims) != 1 {
        return Effect::None;
    }
    let known = [DataType::Float, DataType::Float16, DataType::Double, DataType::Int32, DataType::Int64];
    if !tensor.element_type().is_ok_and(|elem| known.contains(&elem)) {
        return Effect::None;
    }
    let neutral = if is_sum { 0.0 } else { 1.0 };
    let value = constant_number(net, id, constant_at);
    if value.map(|value| value as f32) == Some(neutral) && net.can_remove(id) && net.bypass(id) {
        Effect::Removed
    } else {
        Effect::None
    }
}

/// `1 / a * b` becomes `b / a`.
pub(super) fn div_mul(net: &mut Net, id: OpId) -> Effect {
    if net.n_output_edges(id) != 1 || net.makes_graph_output(id) {
        return Effect::None;
    }
    let Some(mul) = net.only_child(id, "Mul") else { return Effect::None };
    let is_one = net.input_constant(id, 0).is_some_and(|tensor| crate::rewrite::content::count(&tensor.dims) == 1)
        && constant_number(net, id, 0) == Some(1.0);
    if !is_one || !net.same_provider(id, mul) {
        return Effect::None;
    }
    let Some(quotient) = net.op(id).output(0) else { return Effect::None };
    let other = if net.op(mul).input(0) == Some(quotient) { net.op(mul).input(1) } else { net.op(mul).input(0) };
    net.set_input(id, 0, other);
    net.fuse(&[id, mul], id);
    Effect::Changed
}
