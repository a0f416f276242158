//! Recurrent layers.

use crate::context::RuleContext;
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;

pub(super) const TABLE: &[Entry] = &[
    ("", "RNN", recurrent),
    ("", "GRU", recurrent),
    ("", "LSTM", recurrent),
    (MICROSOFT, "DynamicQuantizeLSTM", recurrent),
    (MICROSOFT, "AttnLSTM", recurrent),
];

fn recurrent(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, Some(vec![None; 4]));
    context.set(1, element_type, Some(vec![None; 3]));
    context.set(2, element_type, Some(vec![None; 3]));
    let n_directions = match context.node.string("direction") {
        Some("bidirectional") => 2,
        _ => 1,
    };
    let directions = Some(Expr::constant(n_directions));
    let is_batch_first = context.flag("layout");
    let hidden = match context.node.int("hidden_size") {
        Some(hidden) => Some(Expr::constant(hidden)),
        // The recurrence weights are [directions, gates·hidden, hidden].
        None if context.node.domain.is_empty() => context.dim(2, 2),
        None => None,
    };
    let (steps, batch) =
        if is_batch_first { (context.dim(0, 1), context.dim(0, 0)) } else { (context.dim(0, 0), context.dim(0, 1)) };
    let (all, last) = if is_batch_first {
        (vec![batch.clone(), steps, directions.clone(), hidden.clone()], vec![batch, directions, hidden])
    } else {
        (vec![steps, directions.clone(), batch.clone(), hidden.clone()], vec![directions, batch, hidden])
    };
    context.set(0, element_type, Some(all));
    context.set(1, element_type, Some(last.clone()));
    context.set(2, element_type, Some(last));
    Some(())
}
