//! Reductions: an axis that is summed or averaged over stays, the others pass through.

use std::collections::BTreeSet;

use onnxfit_graph::families::REDUCTIONS;

use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: REDUCTIONS, rule: reduce, mend: None },
    Entry { domain: "", op_types: &["ArgMax", "ArgMin"], rule: arg, mend: None },
];

fn reduce(context: &mut Context<'_, '_>) -> Option<()> {
    let input = context.node.input(0)?;
    let listed = match context.node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None if context.node.input(1).is_some() => context.input_ints(1)?,
        None => Vec::new(),
    };
    let is_identity = listed.is_empty() && context.node.int("noop_with_empty_axes").unwrap_or(0) != 0;
    let rank = context.rank(input)?;
    let all = if listed.is_empty() && !is_identity { (0..rank as i64).collect() } else { listed };
    pass(context, &all)
}

fn arg(context: &mut Context<'_, '_>) -> Option<()> {
    let axis = context.node.int("axis").unwrap_or(0);
    pass(context, &[axis])
}

fn pass(context: &mut Context<'_, '_>, reduced: &[i64]) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let mut gone = BTreeSet::new();
    for axis in reduced {
        gone.insert(context.axis_of(input, *axis)?.axis);
    }
    let keeps = context.node.int("keepdims").unwrap_or(1) != 0;
    let mut position = 0;
    for axis in 0..context.rank(input)? {
        let own = Axis { value: input, axis };
        if gone.contains(&axis) {
            context.pin(own);
        } else {
            context.tie(own, Axis { value: output, axis: position });
        }
        position += usize::from(keeps || !gone.contains(&axis));
    }
    Some(())
}
