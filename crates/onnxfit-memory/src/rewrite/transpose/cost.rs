//! Whether pushing a transpose pays: how many axes more or less are moved.

use super::handlers::{Handler, handler};
use super::leading::Leading;
use super::stated_perm;
use crate::rewrite::net::{ArgId, Net, OpId};

/// Axes that are not 1; 5 when nothing is known.
fn rank_estimate(net: &Net, arg: ArgId) -> i64 {
    match &net.arg(arg).shape {
        None => 5,
        Some(shape) => shape.iter().filter(|dim| **dim != onnxfit_graph::Dim::Known(1)).count() as i64,
    }
}

fn can_likely_go(net: &Net, transpose: OpId) -> bool {
    let Some(output) = net.op(transpose).output(0) else { return false };
    super::push::is_comprehensive(net, output)
        && net.arg(output).uses.iter().all(|reading| handler(net.op(reading.op)).is_some())
}

fn value_cost(net: &Net, arg: ArgId, perm: &[i64]) -> i64 {
    let Some(producer) = net.producer(arg) else {
        return if net.is_constant(arg) { 0 } else { rank_estimate(net, arg) };
    };
    match stated_perm(net, producer) {
        Some(other) if other == perm && can_likely_go(net, producer) => -rank_estimate(net, arg),
        Some(_) => 0,
        None => rank_estimate(net, arg),
    }
}

/// Below zero if pushing `perm` through a node pays (`CalculateCost`).
pub(super) fn cost(net: &Net, id: OpId, perm: &[i64], leading: &Leading, handler: &Handler, inputs: &[usize]) -> i64 {
    let op = net.op(id);
    let mut cost: i64 = inputs.iter().filter_map(|slot| op.input(*slot)).map(|arg| value_cost(net, arg, perm)).sum();
    let meets = || op.outputs.iter().flatten().any(|output| leading.meets(net, *output, perm));
    if cost < 0 && handler.transposes_outputs && !meets() {
        cost += op.outputs.iter().flatten().map(|output| rank_estimate(net, *output)).max().unwrap_or(0);
    }
    cost
}
