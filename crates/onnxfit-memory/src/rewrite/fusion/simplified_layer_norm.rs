//! The nodes of an RMS normalization become one: layer_norm_fusion.cc,
//! `SimplifiedLayerNormFusion` (ORT 1.31). CPU and CUDA; casts around it only on CUDA.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::layer_norm::{epsilon, last_axis};
use super::{CPU_AND_CUDA, has_types, other_input, runs_on};
use crate::rewrite::net::{Net, Op, OpId};
use crate::rewrite::{Context, Provider, content};

const TYPES: &[DataType] = &[DataType::Float16, DataType::Float, DataType::Double, DataType::Bfloat16];

/// Fuses `x / sqrt(mean(x ** 2) + e) * scale`.
pub(crate) fn simplified_layer_norm(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        if !net.get(id).is_some_and(|op| op.is("Pow")) || !runs_on(net, id, CPU_AND_CUDA) {
            continue;
        }
        let Some((nodes, new, mul)) = matched(net, id) else { continue };
        let exponent = net.producer_of_input(id, 1);
        let name = format!("{}/SimplifiedLayerNormFusion/", net.op(mul).name);
        let new = net.add_op(id, &name, new);
        net.fuse(&nodes, new);
        if let Some(exponent) = exponent.filter(|id| net.get(*id).is_some() && !net.has_output_edges(*id)) {
            net.remove_upwards(exponent);
        }
        n_fused += 1;
    }
    n_fused
}

fn is_two(net: &Net, pow: OpId) -> bool {
    let number = |id: OpId, input: usize| {
        let tensor = net.input_constant(id, input)?;
        (crate::rewrite::content::count(&tensor.dims) == 1).then(|| content::first_number(tensor)).flatten()
    };
    let through_cast = || {
        let cast = net.producer_of_input(pow, 1).filter(|cast| net.op(*cast).is("Cast"))?;
        number(cast, 0)
    };
    number(pow, 1).or_else(through_cast) == Some(2.0)
}

fn matched(net: &Net, pow: OpId) -> Option<(Vec<OpId>, Op, OpId)> {
    let child = |id: OpId, op_type: &str| {
        let child = net.first_child_of_type(id, op_type)?;
        (net.op(child).is(op_type) && net.same_provider(pow, child)).then_some(child)
    };
    let typed = |id: OpId| has_types(net, id, TYPES, usize::MAX);
    let single = |id: OpId| net.has_only_edges(id, 1);
    if !single(pow) || !has_types(net, pow, TYPES, 1) || !is_two(net, pow) {
        return None;
    }
    let mean = child(pow, "ReduceMean").filter(|id| single(*id) && has_types(net, *id, TYPES, 1))?;
    let add = child(mean, "Add").filter(|id| single(*id) && typed(*id))?;
    let small = other_input(net, add, net.op(mean).output(0)?)?;
    let sqrt = child(add, "Sqrt").filter(|id| single(*id) && typed(*id))?;
    let div = child(sqrt, "Div").filter(|id| single(*id) && typed(*id))?;
    let mut x = net.op(pow).input(0)?;
    if net.op(div).input(0)? != x {
        return None;
    }
    let mut nodes = vec![pow, mean, add, sqrt, div];
    let on_gpu = net.op(pow).provider == Some(Provider::Cuda);
    if on_gpu {
        let cast = net.producer(x).filter(|id| net.op(*id).is("Cast") && net.same_provider(pow, *id));
        if let Some(cast) = cast.filter(|id| net.has_only_edges(*id, 2)) {
            x = net.op(cast).input(0)?;
            nodes.insert(0, cast);
        }
    }
    let mut mul = net.first_child(div)?;
    if net.op(mul).is("Cast") && single(mul) {
        if !on_gpu {
            return None;
        }
        nodes.push(mul);
        mul = net.first_child(mul)?;
    }
    if !net.op(mul).is("Mul") || !net.same_provider(pow, mul) || !typed(mul) {
        return None;
    }
    nodes.push(mul);
    let axis = last_axis(net, mean)?;
    let inputs = net.op(mul).inputs.iter().flatten().copied();
    let scale = inputs.filter(|arg| net.arg(*arg).shape.as_ref().is_some_and(|shape| shape.len() == 1)).last()?;
    if net.op(mean).provider == Some(Provider::Cpu) && net.arg(x).elem == Some(DataType::Float16) {
        return None;
    }
    let inputs = vec![Some(x), Some(scale)];
    let mut new = Op { op_type: "SimplifiedLayerNormalization".to_owned(), inputs, ..Op::default() };
    new.attributes.insert("epsilon".to_owned(), AttributeValue::Float(epsilon(net, Some(small))));
    new.attributes.insert("axis".to_owned(), AttributeValue::Int(axis));
    Some((nodes, new, mul))
}
