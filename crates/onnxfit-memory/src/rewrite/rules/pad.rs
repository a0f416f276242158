//! A constant `Pad` goes into the convolution or pooling after it: pad_fusion.cc (ORT 1.31). All
//! providers.

use onnxfit_graph::AttributeValue;

use super::Effect;
use crate::rewrite::net::{Net, OpId};

/// Moves zero padding of the spatial dimensions into the next node.
pub(super) fn pad(net: &mut Net, id: OpId) -> Effect {
    let op = net.op(id);
    if net.n_output_edges(id) != 1 || op.inputs.len() > 3 || net.makes_graph_output(id) {
        return Effect::None;
    }
    if op.string("mode").is_some_and(|mode| mode != "constant") {
        return Effect::None;
    }
    let pads = if net.opset() >= 11 {
        if op.inputs.len() > 2 {
            let Some(Ok(Some(bytes))) = net.input_constant(id, 2).map(|tensor| tensor.inline_bytes()) else {
                return Effect::None;
            };
            if bytes.iter().any(|byte| *byte != 0) {
                return Effect::None;
            }
        }
        op.input(1).and_then(|arg| net.constant_ints(arg))
    } else {
        if op.float("value").unwrap_or(0.0) != 0.0 {
            return Effect::None;
        }
        op.ints("pads").map(<[i64]>::to_vec)
    };
    let Some(pads) = pads else { return Effect::None };
    let Some(child) = net.first_child(id) else { return Effect::None };
    let is_cast = net.op(child).is("Cast");
    if is_cast && (net.n_output_edges(child) != 1 || net.makes_graph_output(child)) {
        return Effect::None;
    }
    let Some(target) = (if is_cast { net.first_child(child) } else { Some(child) }) else { return Effect::None };
    let n = pads.len();
    if !takes_padding(net, target) || n < 4 || n % 2 != 0 || pads.iter().any(|pad| *pad < 0) {
        return Effect::None;
    }
    if [0, 1, n / 2, n / 2 + 1].iter().any(|at| pads[*at] != 0) {
        return Effect::None;
    }
    let mut merged = net.op(target).ints("pads").map(<[i64]>::to_vec).unwrap_or_default();
    if merged.is_empty() {
        merged = vec![0; n - 4];
    }
    if merged.len() != n - 4 {
        return Effect::None;
    }
    let spatial = pads[2..n / 2].iter().chain(&pads[n / 2 + 2..]);
    for (slot, pad) in merged.iter_mut().zip(spatial) {
        *slot += pad;
    }
    net.set_attribute(target, "pads", AttributeValue::Ints(merged));
    if net.op(target).op_type == "AveragePool" {
        net.set_attribute(target, "count_include_pad", AttributeValue::Int(1));
    }
    let input = net.op(id).input(0);
    net.set_input(child, 0, input);
    net.remove_op(id);
    Effect::Removed
}

fn takes_padding(net: &Net, id: OpId) -> bool {
    let op = net.op(id);
    if !op.domain.is_empty()
        || !matches!(op.op_type.as_str(), "Conv" | "AveragePool" | "MaxPool")
        || op.outputs.len() > 1
    {
        return false;
    }
    if op.string("auto_pad").is_some_and(|mode| mode != "NOTSET") {
        return false;
    }
    let has_pads = op.ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad != 0));
    // ONNX Runtime has filled in the default of 0 by now.
    op.op_type != "AveragePool" || !has_pads || op.int("count_include_pad").unwrap_or(0) != 0
}
