//! Matrix products: rows, columns, the axis that is summed over, and the batch in front.

use onnxfit_graph::ValueId;

use super::elementwise::{broadcast, tie_unless_single};
use crate::context::Context;
use crate::elements::Axis;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: &["MatMul"], rule: matmul, mend: None },
    Entry { domain: "", op_types: &["Gemm"], rule: gemm, mend: None },
];

fn matmul(context: &mut Context<'_, '_>) -> Option<()> {
    let (left, right, output) = (context.node.input(0)?, context.node.input(1)?, context.node.output(0)?);
    let (left_rank, right_rank, rank) = (context.rank(left)?, context.rank(right)?, context.rank(output)?);
    let summed_left = Axis { value: left, axis: left_rank.checked_sub(1)? };
    let summed_right = Axis { value: right, axis: right_rank.saturating_sub(2) };
    if context.size(summed_left) != Some(1) {
        context.tie(summed_left, summed_right);
    }
    if left_rank == 1 || right_rank == 1 {
        // A vector loses its axis; the other side keeps its own in order.
        let (kept, kept_rank) = if right_rank == 1 { (left, left_rank) } else { (right, right_rank) };
        let others = (0..kept_rank).filter(|axis| {
            let axis = Axis { value: kept, axis: *axis };
            axis != summed_left && axis != summed_right
        });
        for (position, axis) in others.enumerate() {
            tie_unless_single(context, Axis { value: kept, axis }, Axis { value: output, axis: position });
        }
        return Some(());
    }
    tie_unless_single(context, Axis { value: left, axis: left_rank - 2 }, Axis { value: output, axis: rank - 2 });
    tie_unless_single(context, Axis { value: right, axis: right_rank - 1 }, Axis { value: output, axis: rank - 1 });
    let is_attention = context.constant(left).is_none() && context.constant(right).is_none();
    for (side, side_rank) in [(left, left_rank), (right, right_rank)] {
        for axis in 0..side_rank - 2 {
            let shift = rank - side_rank;
            let (own, made) = (Axis { value: side, axis }, Axis { value: output, axis: axis + shift });
            tie_unless_single(context, own, made);
            if is_attention {
                context.mark_heads(made);
            }
        }
    }
    Some(())
}

fn gemm(context: &mut Context<'_, '_>) -> Option<()> {
    let (left, right, output) = (context.node.input(0)?, context.node.input(1)?, context.node.output(0)?);
    let is_set = |name: &str| context.node.int(name).unwrap_or(0) != 0;
    // Rows, then the axis that is summed over.
    let ends = |value: ValueId, is_turned: bool| {
        let (first, second) = (Axis { value, axis: 0 }, Axis { value, axis: 1 });
        if is_turned { (second, first) } else { (first, second) }
    };
    let (rows, summed_left) = ends(left, is_set("transA"));
    let (summed_right, columns) = ends(right, is_set("transB"));
    tie_unless_single(context, rows, Axis { value: output, axis: 0 });
    tie_unless_single(context, columns, Axis { value: output, axis: 1 });
    if context.size(summed_left) != Some(1) {
        context.tie(summed_left, summed_right);
    }
    match context.node.input(2) {
        Some(bias) => broadcast(context, &[bias], output),
        None => Some(()),
    }
}
