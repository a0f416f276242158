//! LSTM: ONNX Runtime's `DynamicQuantizeLSTM` (com.microsoft), whose weights stand turned.

use onnxfit_graph::NodeId;

use super::product::n_elements;
use super::scope::{Scope, Site, WEIGHT, Writer};
use crate::affine::{Quantized, quantize_tensor};
use crate::prepare::transposed;
use crate::{Granularity, QuantizeError, Symmetry};

pub(super) fn lstm(scope: &Scope<'_>, id: NodeId) -> Option<Site> {
    let node = scope.graph.node(id);
    let dims = [1, 2].map(|index| scope.float_dims(node.input(index)?).filter(|dims| dims.len() == 3));
    let [Some(input), Some(state)] = dims else { return None };
    // The kernel has neither (dynamic_quantize_lstm.cc, ORT 1.31).
    let is_plain = node.int("layout").unwrap_or(0) == 0 && node.int("input_forget").unwrap_or(0) == 0;
    is_plain.then(|| Site { n_weights: n_elements(&input) + n_elements(&state), write })
}

fn write(writer: &mut Writer<'_, '_>, id: NodeId) -> Result<(), QuantizeError> {
    let reduce = writer.scope.options.reduce_range;
    // A scale for each direction: blocks along the flattened rest.
    let quantize = |numbers: &[f32], dims: &[usize]| -> Result<Quantized, QuantizeError> {
        let (dims, numbers) = transposed(numbers, dims, &[0, 2, 1]);
        quantize_tensor(&numbers, &dims, WEIGHT, Granularity::Channel { axis: 0 }, Symmetry::Symmetric, reduce)
    };
    let node = writer.scope.graph.node(id);
    let (Some(input), Some(state)) = (node.input(1), node.input(2)) else { return Ok(()) };
    let [input, input_scale, input_zero] = writer.weight(input, "lstm", quantize)?;
    let [state, state_scale, state_zero] = writer.weight(state, "lstm", quantize)?;
    writer.patch.set_operator(id, "com.microsoft", "DynamicQuantizeLSTM");
    writer.patch.set_input(id, 1, Some(input));
    writer.patch.set_input(id, 2, Some(state));
    for (index, value) in [(8, input_scale), (9, input_zero), (10, state_scale), (11, state_zero)] {
        writer.patch.set_input(id, index, Some(value));
    }
    writer.patch.remove_attribute(id, "layout");
    writer.uses_own_domain = true;
    Ok(())
}
