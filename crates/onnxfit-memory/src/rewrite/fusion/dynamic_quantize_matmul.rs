//! A dynamic quantization goes into the integer product after it: dynamic_quantize_matmul_fusion.cc
//! (ORT 1.31). CPU.

use super::{CPU, runs_on};
use crate::rewrite::net::{Net, Op};
use crate::rewrite::{Context, MS};

/// `DynamicQuantizeLinear` and `MatMulIntegerToFloat` become `DynamicQuantizeMatMul`.
pub(crate) fn dynamic_quantize_matmul(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is_ms("MatMulIntegerToFloat") && op.inputs.len() >= 5);
        if !fits || !runs_on(net, id, CPU) {
            continue;
        }
        let Some(quantize) = net.producer_of_input(id, 0).filter(|id| net.op(*id).is("DynamicQuantizeLinear")) else {
            continue;
        };
        let (op, source) = (net.op(id), net.op(quantize));
        let matches = source.output(1) == op.input(2) && source.output(2) == op.input(4) && op.input(4).is_some();
        if !matches || !net.has_only_edges(quantize, source.outputs.len()) {
            continue;
        }
        let inputs = vec![source.input(0), op.input(1), op.input(3), op.input(5), op.input(6)];
        let new = Op {
            name: op.name.clone(),
            op_type: "DynamicQuantizeMatMul".to_owned(),
            domain: MS.to_owned(),
            inputs,
            provider: op.provider,
            ..Op::default()
        };
        let new = net.push_op(new);
        net.fuse(&[quantize, id], new);
        n_fused += 1;
    }
    n_fused
}
