//! Matrix products: `MatMulInteger`, or ONNX Runtime's `DynamicQuantizeMatMul` for models that are
//! older than `DynamicQuantizeLinear`.

use onnxfit_graph::{AttributeValue, NewNode, NodeId, Place, ValueId};
use onnxfit_onnx::DataType;

use super::scope::{Scope, Site, WEIGHT, Writer};
use crate::affine::{Quantized, quantize_tensor};
use crate::prepare::transposed;
use crate::{Granularity, QuantizeError, Symmetry};

/// `DynamicQuantizeLinear` came with this version.
pub(super) const OPSET_DYNAMIC: i64 = 11;

pub(super) fn product(scope: &Scope<'_>, id: NodeId) -> Option<Site> {
    let node = scope.graph.node(id);
    let (left, right) = (node.input(0)?, node.input(1)?);
    let dims = scope.float_dims(right).filter(|dims| dims.len() >= 2)?;
    let is_plain = scope.fixed(left).is_none() && scope.may_be_float(left);
    // Only a matrix has a kernel for old models.
    let has_kernel = scope.opset >= OPSET_DYNAMIC || dims.len() == 2;
    (is_plain && has_kernel).then(|| Site { n_weights: n_elements(&dims), write })
}

pub(super) fn with_bias(scope: &Scope<'_>, id: NodeId) -> Option<Site> {
    let node = scope.graph.node(id);
    let (left, right) = (node.input(0)?, node.input(1)?);
    let dims = scope.float_dims(right).filter(|dims| dims.len() == 2)?;
    let is_plain = scope.fixed(left).is_none()
        && scope.may_be_float(left)
        && node.int("transA").unwrap_or(0) == 0
        && node.float("alpha").unwrap_or(1.0) == 1.0
        && (node.input(2).is_none() || node.float("beta").unwrap_or(1.0) == 1.0);
    is_plain.then(|| Site { n_weights: n_elements(&dims), write })
}

pub(super) fn n_elements(dims: &[usize]) -> u64 {
    dims.iter().fold(1u64, |n, dim| n.saturating_mul(*dim as u64))
}

fn write(writer: &mut Writer<'_, '_>, id: NodeId) -> Result<(), QuantizeError> {
    let scope = writer.scope;
    let node = scope.graph.node(id);
    let (Some(left), Some(right), Some(output)) = (node.input(0), node.input(1), node.output(0)) else {
        return Ok(());
    };
    let is_turned = node.is("Gemm") && node.int("transB").unwrap_or(0) != 0;
    let bias = node.input(2).filter(|_| node.is("Gemm"));
    let label = scope.graph.node_label(id).to_owned();
    let options = scope.options;
    let quantize = |numbers: &[f32], dims: &[usize]| -> Result<Quantized, QuantizeError> {
        let granularity = match dims.len() {
            2 if options.per_channel => Granularity::Channel { axis: 1 },
            _ => Granularity::Tensor,
        };
        let (dims, numbers) =
            if is_turned { transposed(numbers, dims, &[1, 0]) } else { (dims.to_vec(), numbers.to_vec()) };
        quantize_tensor(&numbers, &dims, WEIGHT, granularity, Symmetry::Symmetric, options.reduce_range)
    };
    let way = if is_turned { "turned" } else { "columns" };
    let [integers, scale, zero_point] = writer.weight(right, way, quantize)?;
    writer.patch.remove_node(id);
    if scope.opset < OPSET_DYNAMIC {
        let mut node = NewNode::new("DynamicQuantizeMatMul", &label, &[left, integers, scale, zero_point], &[output]);
        node.inputs.extend(bias.map(Some));
        node.domain = "com.microsoft".to_owned();
        writer.uses_own_domain = true;
        writer.add(Place::Before(id), node);
        return Ok(());
    }
    let [left, left_scale, left_zero_point] = writer.dynamic(left, id);
    let inputs = [left, integers, left_zero_point, zero_point];
    let sums = writer.node(id, "MatMulInteger", &format!("{label}_MatMulInteger"), &inputs);
    finish(writer, id, &label, sums, [left_scale, scale], bias);
    Ok(())
}

/// Sums of integers become floats, are scaled and get their bias.
pub(super) fn finish(
    writer: &mut Writer<'_, '_>,
    id: NodeId,
    label: &str,
    sums: ValueId,
    scales: [ValueId; 2],
    bias: Option<ValueId>,
) {
    let Some(output) = writer.scope.graph.node(id).output(0) else { return };
    let cast = writer.value(&format!("{label}_cast"));
    let node = NewNode::new("Cast", &format!("{label}_Cast"), &[sums], &[cast]);
    let node = node.with("to", AttributeValue::Int(i64::from(DataType::Float.number())));
    writer.add(Place::Before(id), node);
    let scale = writer.node(id, "Mul", &format!("{label}_scales_Mul"), &scales);
    let scaled = if bias.is_some() { writer.value(&format!("{label}_scaled")) } else { output };
    let node = NewNode::new("Mul", &format!("{label}_Mul"), &[cast, scale], &[scaled]);
    writer.add(Place::Before(id), node);
    if let Some(bias) = bias {
        let node = NewNode::new("Add", &format!("{label}_Add"), &[scaled, bias], &[output]);
        writer.add(Place::Before(id), node);
    }
}
