//! `Where(Not(c), a, b)` becomes `Where(c, b, a)`: not_where_fusion.cc (ORT 1.31). All providers.

use super::Effect;
use crate::rewrite::net::{Net, OpId};

/// Removes the `Not` and swaps the choices of every `Where` that reads it.
pub(super) fn not_where(net: &mut Net, id: OpId) -> Effect {
    let Some(not) = net.producer_of_input(id, 0).filter(|not| net.op(*not).is("Not")) else { return Effect::None };
    let readers = net.output_edges(not);
    let fits = readers.len() == 1 || readers.iter().all(|edge| net.op(edge.op).is("Where"));
    if !fits || !net.same_provider(id, not) || !net.can_remove(not) {
        return Effect::None;
    }
    let condition = net.op(not).input(0);
    for edge in readers {
        let (yes, no) = (net.op(edge.op).input(1), net.op(edge.op).input(2));
        net.set_input(edge.op, 0, condition);
        net.set_input(edge.op, 1, no);
        net.set_input(edge.op, 2, yes);
    }
    net.remove_op(not);
    Effect::Changed
}
