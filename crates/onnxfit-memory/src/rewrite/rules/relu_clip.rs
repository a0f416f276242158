//! A `Relu` before a `Clip` goes into its lower bound: relu_clip_fusion.cc (ORT 1.31). All
//! providers.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::Effect;
use super::eliminate::constant_number;
use crate::rewrite::net::{Net, OpId};

/// Removes the `Relu`, raising the lower bound to zero.
pub(super) fn relu_clip(net: &mut Net, id: OpId) -> Effect {
    if net.n_output_edges(id) != 1 || !net.can_remove(id) {
        return Effect::None;
    }
    let Some(clip) = net.only_child(id, "Clip").filter(|clip| net.same_provider(id, *clip)) else {
        return Effect::None;
    };
    if net.opset() < 11 {
        let lower = net.op(clip).float("min").unwrap_or(f32::MIN);
        if !net.bypass(id) {
            return Effect::None;
        }
        if lower < 0.0 {
            net.set_attribute(clip, "min", AttributeValue::Float(0.0));
        }
        return Effect::Removed;
    }
    let mut raise = true;
    if net.op(clip).input(1).is_some() {
        match constant_number(net, clip, 1) {
            Some(lower) => raise = lower < 0.0,
            None => return Effect::None,
        }
    }
    let elem = net.input_elem(clip, 0).unwrap_or(DataType::Float);
    let name = format!("FuseReluClip_{}_min_zero_constant", net.op(id).name);
    if !net.bypass(id) {
        return Effect::None;
    }
    if raise {
        let zero = TensorProto::from_raw(&name, elem, &[], vec![0u8; (elem.bits() / 8) as usize]);
        let zero = net.add_constant(zero);
        net.set_input(clip, 1, Some(zero));
    }
    Effect::Removed
}
