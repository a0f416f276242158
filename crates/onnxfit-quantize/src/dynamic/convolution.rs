//! Convolutions: `ConvInteger`.

use onnxfit_graph::{NewNode, NodeId, Place};
use onnxfit_onnx::proto::TensorProto;

use super::product::{OPSET_DYNAMIC, finish, n_elements};
use super::scope::{Scope, Site, WEIGHT, Writer};
use crate::affine::quantize_tensor;
use crate::constants::float_tensor;
use crate::{Granularity, QuantizeError, Symmetry};

pub(super) fn convolution(scope: &Scope<'_>, id: NodeId) -> Option<Site> {
    let node = scope.graph.node(id);
    let dims = scope.float_dims(node.input(1)?).filter(|dims| dims.len() >= 3)?;
    let bias = node.input(2).map(|bias| scope.float_dims(bias));
    let has_fixed_bias = bias.is_none_or(|bias| bias.is_some_and(|bias| bias == [dims[0]]));
    let is_plain = scope.fixed(node.input(0)?).is_none() && scope.may_be_float(node.input(0)?);
    (scope.opset >= OPSET_DYNAMIC && has_fixed_bias && is_plain).then(|| Site { n_weights: n_elements(&dims), write })
}

fn write(writer: &mut Writer<'_, '_>, id: NodeId) -> Result<(), QuantizeError> {
    let scope = writer.scope;
    let node = scope.graph.node(id);
    let (Some(input), Some(weight)) = (node.input(0), node.input(1)) else { return Ok(()) };
    let label = scope.graph.node_label(id).to_owned();
    let dims = scope.float_dims(weight).unwrap_or_default();
    let options = scope.options;
    let granularity = if options.per_channel { Granularity::Channel { axis: 0 } } else { Granularity::Tensor };
    let quantized =
        quantize_tensor(&scope.floats(weight)?, &dims, WEIGHT, granularity, Symmetry::Symmetric, options.reduce_range)?;
    // One number for each channel, beside the kernel's axes.
    let mut beside = vec![1; dims.len() - 1];
    beside[0] = quantized.params.len();
    let name = scope.graph.value(weight).name.clone();
    let scales: Vec<f32> = quantized.params.iter().map(|params| params.scale).collect();
    let integers = writer.patch.add_initializer(quantized.to_tensor(&format!("{name}_quantized")));
    let scale = writer.patch.add_initializer(float_tensor(&format!("{name}_scale"), &beside, &scales));
    let zero = TensorProto::from_raw(&format!("{name}_zero_point"), WEIGHT.data_type(), &[], vec![0]);
    let zero_point = writer.patch.add_initializer(zero);
    let bias = match node.input(2) {
        None => None,
        Some(bias) => {
            beside[0] = dims[0];
            let tensor =
                float_tensor(&format!("{}_beside", scope.graph.value(bias).name), &beside, &scope.floats(bias)?);
            Some(writer.patch.add_initializer(tensor))
        }
    };
    let [input, input_scale, input_zero_point] = writer.dynamic(input, id);
    let sums = writer.value(&format!("{label}_sums"));
    let inputs = [input, integers, input_zero_point, zero_point];
    let mut integer = NewNode::new("ConvInteger", &format!("{label}_ConvInteger"), &inputs, &[sums]);
    for attribute in &node.attributes {
        integer = integer.with(&attribute.name, attribute.value.clone());
    }
    writer.patch.remove_node(id);
    writer.add(Place::Before(id), integer);
    finish(writer, id, &label, sums, [input_scale, scale], bias);
    Ok(())
}
