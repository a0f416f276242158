//! `Concat`: each input is a range of the output's axis.

use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[Entry { domain: "", op_types: &["Concat"], rule: concat, mend: None }];

fn concat(context: &mut Context<'_, '_>) -> Option<()> {
    let output = context.node.output(0)?;
    let along = context.axis_of(output, context.node.int("axis").unwrap_or(1))?;
    let rank = context.rank(output)?;
    let mut start = Some(0);
    let inputs: Vec<_> = context.node.inputs.iter().copied().flatten().collect();
    for input in inputs {
        if context.rank(input)? != rank {
            return None;
        }
        for axis in (0..rank).filter(|axis| *axis != along.axis) {
            context.tie(Axis { value: input, axis }, Axis { value: output, axis });
        }
        let part = Axis { value: input, axis: along.axis };
        let size = context.size(part).and_then(|size| usize::try_from(size).ok());
        match (start, size) {
            // A part of one index is not followed by itself, and so stays.
            (Some(from), Some(size)) => context.tie_range(part, 0, along, from, size),
            _ => {
                context.pin(part);
                context.pin(along);
            }
        }
        start = start.zip(size).map(|(start, size)| start + size);
    }
    Some(())
}
