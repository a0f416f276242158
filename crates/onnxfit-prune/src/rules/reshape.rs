//! Operators that keep the order of elements and change the axes: heads out of features, features
//! out of heads, groups of channels.

use crate::blocks::blocks;
use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[Entry {
    domain: "",
    op_types: &["Flatten", "Reshape", "Squeeze", "Unsqueeze"],
    rule: reshape,
    mend: Some(mend_shape),
}];

fn reshape(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    // Before opset 5 the shape is an attribute.
    if context.node.is("Reshape") && context.node.input(1).is_none() {
        return None;
    }
    let (before, after) = (context.shape(input)?.to_vec(), context.shape(output)?.to_vec());
    for block in blocks(&before, &after) {
        if let Some((one, other)) = block.as_pair() {
            context.tie(Axis { value: input, axis: one }, Axis { value: output, axis: other });
            continue;
        }
        let own = block.inputs.iter().map(|axis| Axis { value: input, axis: *axis });
        let axes: Vec<Axis> = own.chain(block.outputs.iter().map(|axis| Axis { value: output, axis: *axis })).collect();
        context.tie_factors(input, output, &axes, &block.factors);
    }
    Some(())
}

fn mend_shape(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    if !context.node.is("Reshape") {
        return Some(());
    }
    let copies = if context.node.int("allowzero").unwrap_or(0) == 0 { Some(0) } else { None };
    mender.retarget(context, 1, copies, true)
}
