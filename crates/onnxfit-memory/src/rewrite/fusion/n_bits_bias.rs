//! An addition of a vector goes into the `MatMulNBits` before it: matmul_nbits_fusion.cc (ORT 1.31).
//! CPU and CUDA.

use super::{CPU_AND_CUDA, runs_on};
use crate::rewrite::Context;
use crate::rewrite::net::{Net, OpId};

/// The position of the bias among the inputs.
const BIAS: usize = 5;

/// `MatMulNBits` and `Add` become one; the product keeps its number.
pub(crate) fn n_bits_bias(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let is_asked = net.get(id).is_some_and(|op| op.is_ms("MatMulNBits") && op.input(BIAS).is_none());
        if is_asked && runs_on(net, id, CPU_AND_CUDA) && fuse(net, id).is_some() {
            n_fused += 1;
        }
    }
    n_fused
}

fn fuse(net: &mut Net, id: OpId) -> Option<()> {
    if !net.has_only_edges(id, 1) {
        return None;
    }
    let add = net.first_child(id).filter(|next| net.op(*next).is("Add") && net.same_provider(id, *next))?;
    let product = net.op(id).output(0)?;
    let other = usize::from(net.op(add).input(0) == Some(product));
    let bias = net.op(add).input(other)?;
    if net.arg(bias).static_shape()?.as_slice() != [net.op(id).int("N")?] {
        return None;
    }
    let sum = net.op(add).output(0);
    net.remove_op(add);
    net.set_input(id, BIAS, Some(bias));
    net.set_output(id, 0, sum);
    Some(())
}
