//! An integer product and its scaling become one: matmul_integer_to_float.cc (ORT 1.31). CPU.

use onnxfit_onnx::DataType;

use super::{CPU, runs_on};
use crate::rewrite::net::{Net, Op, OpId, known_dim};
use crate::rewrite::{Context, MS};

/// `MatMulInteger`, `Cast`, `Mul` (and a constant `Add`) become `MatMulIntegerToFloat`.
pub(crate) fn matmul_integer(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Mul")) && runs_on(net, id, CPU);
        if fits && net.input_elem(id, 0) != Some(DataType::Float16) && fuse(net, id).is_some() {
            n_fused += 1;
        }
    }
    n_fused
}

fn fuse(net: &mut Net, mul: OpId) -> Option<()> {
    let cast = net.first_parent_of_type(mul, "Cast")?;
    let product = net.first_parent_of_type(cast, "MatMulInteger")?;
    let scales = net.first_parent_of_type(mul, "Mul")?;
    if ![cast, product, scales].iter().all(|id| net.has_only_edges(*id, 1)) {
        return None;
    }
    let mut bias = None;
    if net.has_only_edges(mul, 1)
        && let Some(add) = net.first_child_of_type(mul, "Add")
    {
        let at = (0..2).find(|at| net.input_is_constant(add, *at) && is_bias(net, add, *at));
        bias = at.map(|at| (add, at));
    }
    let op = net.op(product);
    let mut inputs =
        vec![op.input(0), op.input(1), net.op(scales).input(0), net.op(scales).input(1), op.input(2), op.input(3)];
    if let Some((add, at)) = bias {
        inputs.push(net.op(add).input(at));
    }
    let new = Op {
        name: op.name.clone(),
        op_type: "MatMulIntegerToFloat".to_owned(),
        domain: MS.to_owned(),
        inputs,
        provider: net.op(mul).provider,
        ..Op::default()
    };
    let new = net.push_op(new);
    let mut nodes = vec![product, cast, scales, mul];
    nodes.extend(bias.map(|(add, _)| add));
    net.fuse(&nodes, new);
    Some(())
}

/// All but the last dimension are 1, the last is more.
fn is_bias(net: &Net, id: OpId, input: usize) -> bool {
    let Some((last, rest)) = net.input_shape(id, input).and_then(<[_]>::split_last) else { return false };
    rest.iter().all(|dim| known_dim(dim) == Some(1)) && known_dim(last).is_some_and(|last| last > 1)
}
