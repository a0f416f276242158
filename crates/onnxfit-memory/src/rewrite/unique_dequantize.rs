//! Every reader of a dequantized value gets a `DequantizeLinear` of its own.
//!
//! ensure_unique_dq_for_node_unit.cc (ORT 1.31), every level, all providers: quantized node units
//! may not overlap.

use super::net::{Net, Op, OpId};
use super::{Context, MS};

/// Duplicates dequantizations; returns how many nodes were made.
pub(super) fn duplicate_dequantizations(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_made = 0;
    for id in net.topological_order() {
        let op = net.op(id);
        if op.op_type == "DequantizeLinear" && (op.domain.is_empty() || op.domain == MS) {
            n_made += duplicate(net, id);
        }
    }
    n_made
}

fn duplicate(net: &mut Net, id: OpId) -> usize {
    let Some(output) = net.op(id).output(0) else { return 0 };
    let is_output = net.arg(output).is_output;
    let edges = net.output_edges(id);
    if edges.is_empty() || (edges.len() == 1 && !is_output) {
        return 0;
    }
    let explicit: Vec<_> = edges.iter().filter(|edge| edge.slot < net.op(edge.op).inputs.len()).copied().collect();
    let keep_first = !is_output && explicit.len() == edges.len();
    let mut n_made = 0;
    for edge in explicit.into_iter().skip(usize::from(keep_first)) {
        let (elem, shape) = (net.arg(output).elem, net.arg(output).shape.clone());
        let copy = net.add_arg(&format!("{}/duplicated", net.arg(output).name), elem, shape);
        let original = net.op(id);
        let name = format!("{}/duplicated", original.name);
        let op = Op {
            op_type: original.op_type.clone(),
            domain: original.domain.clone(),
            inputs: original.inputs.clone(),
            attributes: original.attributes.clone(),
            ..Op::default()
        };
        let new = net.add_op(id, &name, op);
        net.set_output(new, 0, Some(copy));
        net.set_input(edge.op, edge.slot, Some(copy));
        n_made += 1;
    }
    n_made
}
