//! Lookups: the axis that is looked up in stays, the others pass through.

use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[Entry { domain: "", op_types: &["Gather"], rule: gather, mend: None }];

fn gather(context: &mut Context<'_, '_>) -> Option<()> {
    let (data, indices, output) = (context.node.input(0)?, context.node.input(1)?, context.node.output(0)?);
    let along = context.axis_of(data, context.node.int("axis").unwrap_or(0))?;
    let index_rank = context.rank(indices)?;
    context.pin(along);
    context.pin_all(indices);
    let mut position = 0;
    for axis in 0..context.rank(data)? {
        if axis == along.axis {
            for made in position..position + index_rank {
                context.pin(Axis { value: output, axis: made });
            }
            position += index_rank;
        } else {
            context.tie(Axis { value: data, axis }, Axis { value: output, axis: position });
            position += 1;
        }
    }
    Some(())
}
