//! Operators that work on each element alone, with broadcasting: every axis of an input goes with
//! the output's axis that it meets.

use onnxfit_graph::ValueId;
use onnxfit_graph::families::ELEMENTWISE;

use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: ELEMENTWISE, rule: elementwise, mend: None },
    Entry {
        domain: "com.microsoft",
        op_types: &["BiasGelu", "FastGelu", "Gelu", "QuickGelu"],
        rule: elementwise,
        mend: None,
    },
    Entry { domain: "", op_types: &["Constant"], rule: constant, mend: None },
];

/// Ties every input of the node to its outputs.
pub(crate) fn elementwise(context: &mut Context<'_, '_>) -> Option<()> {
    let inputs: Vec<ValueId> = context.node.inputs.iter().copied().flatten().collect();
    let outputs: Vec<ValueId> = context.node.outputs.iter().copied().flatten().collect();
    // ONNX's own broadcasting by an attribute, before opset 7, aligns otherwise.
    if context.node.int("broadcast").unwrap_or(0) != 0 {
        return None;
    }
    for output in outputs {
        broadcast(context, &inputs, output)?;
    }
    Some(())
}

/// Ties inputs to an output that they are broadcast to.
pub(crate) fn broadcast(context: &mut Context<'_, '_>, inputs: &[ValueId], output: ValueId) -> Option<()> {
    let rank = context.rank(output)?;
    for input in inputs {
        let input_rank = context.rank(*input)?;
        let shift = rank.checked_sub(input_rank)?;
        for axis in 0..input_rank {
            tie_unless_single(context, Axis { value: *input, axis }, Axis { value: output, axis: axis + shift });
        }
    }
    Some(())
}

/// Ties two axes that meet; one of size 1 is repeated and says nothing.
pub(crate) fn tie_unless_single(context: &mut Context<'_, '_>, input: Axis, output: Axis) {
    if context.size(input) != Some(1) {
        context.tie(input, output);
    }
}

/// A tensor that the node holds can be cut as an initializer is.
fn constant(context: &mut Context<'_, '_>) -> Option<()> {
    context.node.tensor("value")?;
    context.allow(context.node.output(0)?);
    Some(())
}
