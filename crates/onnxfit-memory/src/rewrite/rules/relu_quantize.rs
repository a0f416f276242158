//! A `Relu` whose zero is the smallest quantized number goes: relu_quantizelinear.cc (ORT 1.31).
//! Level 2, all providers.

use super::Effect;
use crate::rewrite::content;
use crate::rewrite::net::{Net, OpId};
use onnxfit_onnx::DataType;

/// Removes a `Relu` before a `QuantizeLinear` that clips at zero itself.
pub(super) fn relu_quantize(net: &mut Net, id: OpId) -> Effect {
    if !net.can_remove(id) || net.n_output_edges(id) != 1 {
        return Effect::None;
    }
    let Some(next) = net.only_child(id, "QuantizeLinear") else { return Effect::None };
    let Some(zero) = net.input_constant(next, 2) else { return Effect::None };
    let lowest = match zero.element_type() {
        Ok(DataType::Int8) => -128,
        Ok(DataType::Uint8 | DataType::Uint16) => 0,
        Ok(DataType::Int16) => -32768,
        _ => return Effect::None,
    };
    let clips = content::integers(zero).is_some_and(|zero| zero.first() == Some(&lowest));
    if clips && net.bypass(id) { Effect::Removed } else { Effect::None }
}
