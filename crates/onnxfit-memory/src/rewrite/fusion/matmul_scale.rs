//! Constant factors around a matrix product become its `alpha`: matmul_scale_fusion.cc (ORT 1.31).
//! CPU and CUDA.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, has_types, runs_on};
use crate::rewrite::content;
use crate::rewrite::net::{Net, Op, OpId};
use crate::rewrite::{Context, MS, Provider};

/// Fuses products with scalars, before and after.
pub(crate) fn matmul_scale(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("MatMul") || op.is_ms("FusedMatMul"));
        if !fits || !runs_on(net, id, CPU_AND_CUDA) {
            continue;
        }
        let types: &[DataType] = match net.op(id).provider {
            Some(Provider::Cpu) => &[DataType::Float, DataType::Double],
            _ => &[DataType::Float16, DataType::Float, DataType::Double, DataType::Bfloat16],
        };
        if has_types(net, id, types, usize::MAX) && fuse(net, id) {
            n_fused += 1;
        }
    }
    n_fused
}

fn fuse(net: &mut Net, id: OpId) -> bool {
    let op = net.op(id);
    let mut inputs = op.inputs.clone();
    let mut alpha = if op.op_type == "FusedMatMul" { op.float("alpha").unwrap_or(1.0) } else { 1.0 };
    let mut before = Vec::new();
    for (slot, input) in inputs.iter_mut().enumerate() {
        let Some(producer) = input.and_then(|arg| net.producer(arg)) else { continue };
        if !net.same_provider(id, producer) {
            continue;
        }
        let Some((factor, at)) = scale(net, producer) else { continue };
        let Some(plain) = net.op(producer).input(1 - at) else { continue };
        if net.arg(plain).shape.as_ref().is_none_or(Vec::is_empty) {
            continue;
        }
        alpha *= factor;
        *input = Some(plain);
        before.push((slot, producer));
    }
    let mut after = None;
    if net.has_only_edges(id, 1)
        && let Some(next) = net.first_child(id).filter(|next| net.same_provider(id, *next))
        && let Some((factor, _)) = scale(net, next)
    {
        alpha *= factor;
        after = Some(next);
    }
    if before.is_empty() && after.is_none() {
        return false;
    }
    let op = net.op(id);
    let mut attributes = if op.op_type == "FusedMatMul" { op.attributes.clone() } else { Default::default() };
    attributes.insert("alpha".to_owned(), AttributeValue::Float(alpha));
    let name = format!("{}/MatMulScaleFusion/", op.name);
    let new = Op { op_type: "FusedMatMul".to_owned(), domain: MS.to_owned(), inputs, attributes, ..Op::default() };
    let new = net.add_op(id, &name, new);
    let mut removed = vec![id];
    removed.extend(after);
    net.fuse(&removed, new);
    for (_, producer) in before {
        if net.get(producer).is_some() && net.has_only_edges(producer, 0) {
            net.remove_op(producer);
        }
    }
    true
}

/// The factor of a scaling node and the input that holds it.
fn scale(net: &Net, id: OpId) -> Option<(f32, usize)> {
    let op = net.op(id);
    let scalar = |at: usize| {
        let tensor = net.input_constant(id, at)?;
        let rank_max = net.input_shape(id, 1 - at).map_or(0, <[_]>::len);
        if crate::rewrite::content::count(&tensor.dims) != 1 || tensor.dims.len() > rank_max {
            return None;
        }
        // A scalar that nobody read still is one.
        Some(content::first_number(tensor).unwrap_or(1.0) as f32)
    };
    if op.is("Div") {
        return Some((1.0 / scalar(1)?, 1));
    }
    if op.is("Mul") {
        return (0..2).find_map(|at| Some((scalar(at)?, at)));
    }
    None
}
