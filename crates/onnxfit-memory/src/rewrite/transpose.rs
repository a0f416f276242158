//! Transposes are pushed through the nodes after them, where others cancel them.
//!
//! onnx_transpose_optimization.cc, ort_transpose_optimization.cc and transpose_optimizer.cc
//! (ORT 1.31): level 1 for all providers, level 2 for nodes on the CPU provider; once per level.
//! Not imitated: looking past `DequantizeLinear`.

mod cost;
mod handlers;
mod leading;
mod perm;
mod push;
mod reshape;
mod units;

use super::net::{Net, OpId};
use super::{Context, Provider};
use handlers::handler;
use leading::Leading;
use perm::is_valid;

/// ONNX opsets that the optimizer knows.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=27;

/// One transpose and the node that reads it.
pub(super) struct Push<'a> {
    pub(super) transpose: OpId,
    pub(super) node: OpId,
    pub(super) perm: &'a [i64],
    pub(super) inverse: &'a [i64],
    pub(super) inputs: &'a [usize],
}

/// Level 1: nodes that no provider has taken yet.
pub(super) fn level_1(net: &mut Net, context: &Context<'_>) -> usize {
    optimize(net, context, None)
}

/// Level 2: nodes of the CPU provider.
pub(super) fn level_2(net: &mut Net, context: &Context<'_>) -> usize {
    optimize(net, context, Some(Provider::Cpu))
}

/// The permutation of a `Transpose` that states one.
fn stated_perm(net: &Net, id: OpId) -> Option<Vec<i64>> {
    let op = net.get(id).filter(|op| op.is("Transpose"))?;
    op.ints("perm").map(<[i64]>::to_vec).filter(|perm| is_valid(perm))
}

fn optimize(net: &mut Net, context: &Context<'_>, provider: Option<Provider>) -> usize {
    if !OPSETS.contains(&net.opset()) {
        return 0;
    }
    let order = net.topological_order();
    let (major, minor) = context.options.ort_version;
    let leading = Leading::find(net, &order, (major, minor, 0));
    let mut n_pushed = 0;
    for id in order {
        let Some(op) = net.get(id) else { continue };
        if op.provider.is_some() && op.provider != provider {
            continue;
        }
        for slot in 0..op.inputs.len() {
            let Some(op) = net.get(id) else { break };
            let Some(transpose) = op.input(slot).and_then(|arg| net.producer(arg)) else { continue };
            let Some(perm) = stated_perm(net, transpose) else { continue };
            if process(net, transpose, id, &perm, slot, &leading, provider) {
                n_pushed += 1;
                break;
            }
        }
    }
    n_pushed + units::mend(net, provider)
}

fn process(
    net: &mut Net,
    transpose: OpId,
    id: OpId,
    perm: &[i64],
    slot: usize,
    leading: &Leading,
    provider: Option<Provider>,
) -> bool {
    let Some(handler) = handler(net.op(id)) else { return false };
    let inputs = (handler.inputs)(net, id);
    if !inputs.contains(&slot) {
        return false;
    }
    let always = net.op(id).is("Transpose") || (provider.is_some() && net.op(id).is("MaxPool"));
    if !always && cost::cost(net, id, perm, leading, &handler, &inputs) >= 0 {
        return false;
    }
    let inverse = perm::invert(perm);
    (handler.handle)(net, &Push { transpose, node: id, perm, inverse: &inverse, inputs: &inputs })
}
