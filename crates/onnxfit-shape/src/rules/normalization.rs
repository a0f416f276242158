//! Normalizations: the shape stays, statistics may come out beside.

use onnxfit_onnx::DataType;

use crate::context::{RuleContext, axis_of};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::elementwise::same;

pub(super) const TABLE: &[Entry] = &[
    ("", "BatchNormalization", batch),
    ("", "InstanceNormalization", same),
    ("", "GroupNormalization", same),
    ("", "LRN", same),
    ("", "LpNormalization", same),
    ("", "MeanVarianceNormalization", same),
    ("", "LayerNormalization", layer),
    ("", "SimplifiedLayerNormalization", layer),
    ("", "RMSNormalization", same),
    (MICROSOFT, "LayerNormalization", layer),
    (MICROSOFT, "SimplifiedLayerNormalization", layer),
    (MICROSOFT, "SkipLayerNormalization", skip_layer),
    (MICROSOFT, "SkipSimplifiedLayerNormalization", skip_layer),
    (MICROSOFT, "SkipGroupNorm", skip_group),
    (MICROSOFT, "GroupNorm", same),
    (MICROSOFT, "QOrderedLayerNormalization", same),
];

fn batch(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    // Running statistics, one number a channel; saved ones too before operator set 14.
    for output in 1..context.n_outputs() {
        let source = if output % 2 == 1 { 3 } else { 4 };
        let dims = context.shape(source).map(|shape| shape.iter().cloned().map(Some).collect());
        context.set(output, context.element_type(source), dims);
    }
    Some(())
}

fn layer(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let input = context.input(0)?;
    let element_type = if context.node.op_type.starts_with("Simplified") {
        context.element_type(1).or(input.element_type)
    } else {
        input.element_type
    };
    let dims = input.shape.as_ref().map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(0, element_type, dims);
    let statistics = context.type_attribute("stash_type").or(Some(DataType::Float));
    statistics_outputs(context, statistics, &[1, 2])
}

fn statistics_outputs(
    context: &mut RuleContext<'_, '_>,
    element_type: Option<DataType>,
    outputs: &[usize],
) -> Option<()> {
    for output in outputs {
        context.set(*output, element_type, None);
    }
    let mut shape = context.shape(0)?.to_vec();
    let axis = axis_of(context.int("axis", -1), shape.len())?;
    shape[axis..].fill(Expr::constant(1));
    for output in outputs {
        context.set_shape(*output, element_type, &shape);
    }
    Some(())
}

fn skip_layer(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    let input = context.input(0)?;
    let dims = input.shape.as_ref().map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(3, input.element_type, dims);
    statistics_outputs(context, Some(DataType::Float), &[1, 2])
}

fn skip_group(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    let input = context.input(0)?;
    let dims = input.shape.as_ref().map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(1, input.element_type, dims);
    Some(())
}
