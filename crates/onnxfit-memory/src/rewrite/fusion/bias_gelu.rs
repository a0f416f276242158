//! An addition of a vector goes into the `Gelu` after it: bias_gelu_fusion.cc (ORT 1.31). CPU and
//! CUDA.

use super::{CPU_AND_CUDA, runs_on};
use crate::rewrite::net::{Net, Op};
use crate::rewrite::{Context, MS};

/// `Add` and `Gelu` become `BiasGelu` (or `FastGelu` with a bias).
pub(crate) fn bias_gelu(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Add")) && runs_on(net, id, CPU_AND_CUDA);
        if !fits || !net.has_only_edges(id, 1) {
            continue;
        }
        let (Some(first), Some(second)) = (net.input_shape(id, 0), net.input_shape(id, 1)) else { continue };
        if first.is_empty() || second.is_empty() || first.last() != second.last() {
            continue;
        }
        if first.last() == Some(&onnxfit_graph::Dim::Unknown) {
            continue;
        }
        let op = net.op(id);
        let inputs = match (first.len(), second.len()) {
            (1, _) => vec![op.input(1), op.input(0)],
            (_, 1) => vec![op.input(0), op.input(1)],
            _ => continue,
        };
        let Some(next) = net.first_child(id).filter(|next| net.same_provider(id, *next)) else { continue };
        let gelu = net.op(next);
        let is_onnx = gelu.is("Gelu");
        let is_fast = gelu.is_ms("FastGelu");
        if !(is_onnx || gelu.is_ms("Gelu") || is_fast) || (is_fast && gelu.inputs.len() > 1) {
            continue;
        }
        let approximate = is_fast || (is_onnx && gelu.string("approximate") == Some("tanh"));
        let op_type = if approximate { "FastGelu" } else { "BiasGelu" };
        let new = Op { op_type: op_type.to_owned(), domain: MS.to_owned(), inputs, ..Op::default() };
        let new = net.add_op(next, op_type, new);
        net.fuse(&[id, next], new);
        n_fused += 1;
    }
    n_fused
}
