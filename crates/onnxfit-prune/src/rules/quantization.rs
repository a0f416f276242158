//! Quantization: every element goes with its own; a scale for each channel goes with the channel.

use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] =
    &[Entry { domain: "", op_types: &["DequantizeLinear", "QuantizeLinear"], rule: linear, mend: None }];

fn linear(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    if context.node.int("block_size").unwrap_or(0) != 0 {
        return None;
    }
    for axis in 0..context.rank(input)? {
        context.tie(Axis { value: input, axis }, Axis { value: output, axis });
    }
    let settings: Vec<_> = context.node.inputs.iter().skip(1).copied().flatten().collect();
    for setting in settings {
        match context.rank(setting)? {
            0 => {}
            1 if context.size(Axis { value: setting, axis: 0 }) == Some(1) => {}
            1 => {
                let along = context.axis_of(output, context.node.int("axis").unwrap_or(1))?;
                context.tie(Axis { value: setting, axis: 0 }, along);
            }
            _ => return None,
        }
    }
    Some(())
}
