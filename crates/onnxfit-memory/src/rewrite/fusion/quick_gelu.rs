//! `x * sigmoid(a * x)` becomes `QuickGelu`: quick_gelu_fusion.cc (ORT 1.31). CPU and CUDA.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, runs_on};
use crate::rewrite::content;
use crate::rewrite::net::{Net, Op, OpId};
use crate::rewrite::{Context, MS};

/// Fuses the sigmoid and the products around it.
pub(crate) fn quick_gelu(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        if net.get(id).is_none() {
            continue;
        }
        let Some((nodes, alpha)) = matched(net, id) else { continue };
        let Some(last) = nodes.last().copied() else { continue };
        let alpha_at = alpha_input(net, id).map(|(at, _)| at);
        let input = net.op(id).input(alpha_at.map_or(0, |at| 1 - at));
        let name = format!("{}/QuickGeluFusion/", net.op(last).name);
        let mut new =
            Op { op_type: "QuickGelu".to_owned(), domain: MS.to_owned(), inputs: vec![input], ..Op::default() };
        new.attributes.insert("alpha".to_owned(), AttributeValue::Float(alpha));
        let new = net.add_op(id, &name, new);
        net.fuse(&nodes, new);
        n_fused += 1;
    }
    n_fused
}

/// The constant factor of a `Mul` in front of the sigmoid.
fn alpha_input(net: &Net, id: OpId) -> Option<(usize, f32)> {
    let op = net.op(id);
    if !op.is("Mul") || !runs_on(net, id, CPU_AND_CUDA) || net.n_output_edges(id) != 1 || net.makes_graph_output(id) {
        return None;
    }
    (0..op.inputs.len().min(2)).find_map(|at| {
        let arg = op.input(at).filter(|arg| net.is_scalar(*arg))?;
        let tensor = net.constant(arg)?;
        let known = [DataType::Float, DataType::Double, DataType::Float16];
        tensor.element_type().ok().filter(|elem| known.contains(elem))?;
        // The factor decides no shape: one that nobody read counts as 1.
        Some((at, content::first_float(tensor).unwrap_or(1.0) as f32))
    })
}

fn matched(net: &Net, id: OpId) -> Option<(Vec<OpId>, f32)> {
    let mut nodes = Vec::new();
    let (sigmoid, input, alpha) = match alpha_input(net, id) {
        Some((at, alpha)) => {
            nodes.push(id);
            (net.first_child(id)?, net.op(id).input(1 - at)?, alpha)
        }
        None => (id, net.op(id).input(0)?, 1.0),
    };
    let fits = net.op(sigmoid).is("Sigmoid") && runs_on(net, sigmoid, CPU_AND_CUDA);
    if !fits || net.n_output_edges(sigmoid) != 1 || net.makes_graph_output(sigmoid) {
        return None;
    }
    nodes.push(sigmoid);
    let mul = net.only_child(sigmoid, "Mul").filter(|mul| runs_on(net, *mul, CPU_AND_CUDA))?;
    let at = net.op(mul).index_of_input(net.op(sigmoid).output(0)?)?;
    if net.op(mul).input((at + 1) % 2)? != input {
        return None;
    }
    nodes.push(mul);
    Some((nodes, alpha))
}
