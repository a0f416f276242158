//! To and from quantized numbers, and arithmetic on them.

use onnxfit_onnx::DataType;

use crate::context::{RuleContext, axis_of};
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::concat::joined;
use crate::rules::elementwise::{same, set_broadcast};

pub(super) const TABLE: &[Entry] = &[
    ("", "QuantizeLinear", quantize),
    (MICROSOFT, "QuantizeLinear", quantize),
    ("", "DequantizeLinear", dequantize),
    (MICROSOFT, "DequantizeLinear", dequantize),
    ("", "DynamicQuantizeLinear", dynamic_quantize),
    (MICROSOFT, "DynamicQuantizeLinear", dynamic_quantize),
    (MICROSOFT, "QLinearAdd", binary),
    (MICROSOFT, "QLinearMul", binary),
    (MICROSOFT, "QLinearSigmoid", same),
    (MICROSOFT, "QLinearLeakyRelu", same),
    (MICROSOFT, "QLinearSoftmax", same),
    (MICROSOFT, "QLinearConcat", concat),
    (MICROSOFT, "QLinearWhere", where_),
    (MICROSOFT, "MulInteger", mul_integer),
    (MICROSOFT, "DequantizeBFP", dequantize_blocks),
];

fn keep_shape(context: &mut RuleContext<'_, '_>, element_type: Option<DataType>) {
    let dims = context.shape(0).map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(0, element_type, dims);
}

fn quantize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let named = context.type_attribute("output_dtype");
    let element_type = context.element_type(2).or(named).or(Some(DataType::Uint8));
    keep_shape(context, element_type);
    Some(())
}

fn dequantize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let named = context.type_attribute("output_dtype");
    let element_type = named.or(context.element_type(1)).or(Some(DataType::Float));
    keep_shape(context, element_type);
    Some(())
}

fn dynamic_quantize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    keep_shape(context, Some(DataType::Uint8));
    context.set(1, Some(DataType::Float), Some(Vec::new()));
    context.set(2, Some(DataType::Uint8), Some(Vec::new()));
    Some(())
}

fn binary(context: &mut RuleContext<'_, '_>) -> Option<()> {
    set_broadcast(context, context.element_type(0), [0, 3])
}

fn where_(context: &mut RuleContext<'_, '_>) -> Option<()> {
    set_broadcast(context, context.element_type(1), [0, 1, 4])
}

fn mul_integer(context: &mut RuleContext<'_, '_>) -> Option<()> {
    set_broadcast(context, Some(DataType::Int32), [0, 2])
}

/// Inputs are scale and zero point of the output, then tensor, scale, zero point of each part.
fn concat(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(1);
    context.set(0, element_type, None);
    let parts: Vec<_> = (2..context.n_inputs()).step_by(3).filter_map(|index| context.input(index)).collect();
    let rank = parts.iter().find_map(|fact| fact.rank())?;
    let axis = axis_of(context.node.int("axis")?, rank)?;
    let dims = joined(context, &parts, axis)?;
    context.set(0, element_type, Some(dims));
    Some(())
}

fn dequantize_blocks(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("dtype").or(Some(DataType::Float));
    context.set(0, element_type, None);
    let dims = context.ints(1)?;
    context.set(0, element_type, Some(dims));
    Some(())
}
