//! An addition goes into the layer normalization after it: skip_layer_norm_fusion.cc and
//! bias_skip_layer_norm_fusion.cc (ORT 1.31). CPU and CUDA.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, has_types, parent, runs_on};
use crate::releases::{FormerRule, holds};
use crate::rewrite::net::{ArgId, Net, Op, OpId, known_dim};
use crate::rewrite::{Context, MS};

const TYPES: &[DataType] = &[DataType::Float16, DataType::Float, DataType::Bfloat16];
/// `contrib::kDefaultSkipLayerNormEpsilon`.
const EPSILON: f32 = 1e-12;

/// `Add` (and the `Add` of a bias before it) and `LayerNormalization` become one.
pub(crate) fn skip_layer_norm(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    let mut removed = Vec::new();
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("LayerNormalization")) && runs_on(net, id, CPU_AND_CUDA);
        if !fits || !has_types(net, id, TYPES, usize::MAX) {
            continue;
        }
        let Some(add) = parent(net, id, 0, "Add").filter(|add| is_residual(net, *add, id)) else { continue };
        let bias =
            (0..2).find_map(|slot| Some((slot, parent(net, add, slot, "Add").filter(|bias| is_bias(net, *bias, id))?)));
        let op = net.op(id);
        let is_vector = |arg: ArgId| net.arg(arg).shape.as_ref().is_none_or(|shape| shape.len() == 1);
        if op.inputs.iter().skip(1).flatten().any(|arg| !is_vector(*arg)) {
            continue;
        }
        let mut inputs = vec![net.op(add).input(0), net.op(add).input(1), op.input(1), op.input(2)];
        if let Some((slot, bias)) = bias {
            inputs[slot] = net.op(bias).input(0);
            inputs.push(net.op(bias).input(1));
            removed.push(bias);
        }
        removed.push(add);
        let epsilon = op.float("epsilon").unwrap_or(EPSILON);
        let mut new =
            Op { op_type: "SkipLayerNormalization".to_owned(), domain: MS.to_owned(), inputs, ..Op::default() };
        new.attributes.insert("epsilon".to_owned(), AttributeValue::Float(epsilon));
        let new = net.add_op(id, "SkipLayerNormalization", new);
        net.fuse(&[id], new);
        n_fused += 1;
    }
    for id in removed {
        net.remove_op(id);
    }
    n_fused
}

fn same_dim(one: &Dim, other: &Dim) -> bool {
    one == other && *one != Dim::Unknown
}

fn is_residual(net: &Net, add: OpId, norm: OpId) -> bool {
    let (Some(first), Some(second)) = (net.input_shape(add, 0), net.input_shape(add, 1)) else { return false };
    net.same_provider(add, norm)
        && has_types(net, add, TYPES, usize::MAX)
        && net.n_output_edges(add) == 1
        && !net.makes_graph_output(add)
        && first.len() == 3
        && second.len() == 3
        && first.iter().zip(second).all(|(one, other)| same_dim(one, other))
}

fn is_bias(net: &Net, add: OpId, norm: OpId) -> bool {
    let (Some([_, _, width]), Some([size])) = (net.input_shape(add, 0), net.input_shape(add, 1)) else { return false };
    net.same_provider(add, norm)
        && has_types(net, add, TYPES, usize::MAX)
        && net.n_output_edges(add) == 1
        && !net.makes_graph_output(add)
        && net.input_is_constant(add, 1)
        && known_dim(width).is_some()
        && known_dim(width) == known_dim(size)
}

/// The bias of a matrix product goes into the `SkipLayerNormalization` after it.
pub(crate) fn bias_skip_layer_norm(net: &mut Net, context: &Context<'_>) -> usize {
    let (major, minor) = context.options.ort_version;
    if holds(FormerRule::SkipLayerNormKeepsBias, (major, minor, 0)) {
        return 0;
    }
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is_ms("SkipLayerNormalization") && op.inputs.len() == 4);
        if !fits || !runs_on(net, id, CPU_AND_CUDA) {
            continue;
        }
        let Some((slot, add, at)) = bias_of_product(net, id) else { continue };
        let op = net.op(id);
        let mut inputs = op.inputs.clone();
        inputs[slot] = net.op(add).input(1 - at);
        inputs.push(net.op(add).input(at));
        let attributes = op.attributes.clone();
        let new = Op { op_type: op.op_type.clone(), domain: MS.to_owned(), inputs, attributes, ..Op::default() };
        let new = net.add_op(id, "SkipLayerNormalization", new);
        net.fuse(&[id], new);
        net.remove_op(add);
        n_fused += 1;
    }
    n_fused
}

fn bias_of_product(net: &Net, id: OpId) -> Option<(usize, OpId, usize)> {
    let hidden = (2..4).find_map(|input| match net.input_shape(id, input)? {
        [size] => known_dim(size),
        _ => None,
    });
    (0..2).find_map(|slot| {
        let add = parent(net, id, slot, "Add")?;
        let at = (0..2).find_map(|product| {
            let through_cast = || parent(net, parent(net, add, product, "Cast")?, 0, "MatMul");
            parent(net, add, product, "MatMul").or_else(through_cast)?;
            Some(1 - product)
        })?;
        let [size] = net.input_shape(add, at)? else { return None };
        let fits = net.same_provider(add, id)
            && net.n_output_edges(add) == 1
            && !net.makes_graph_output(add)
            && net.input_is_constant(add, at)
            && hidden.is_some()
            && known_dim(size) == hidden;
        fits.then_some((slot, add, at))
    })
}
