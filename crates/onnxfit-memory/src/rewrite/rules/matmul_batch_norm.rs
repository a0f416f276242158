//! Batch normalization goes into the matrix product before it: matmul_bn_fusion.cc (ORT 1.31). All
//! providers.

use super::Effect;
use crate::rewrite::content::placeholder;
use crate::rewrite::net::{Net, Op, OpId};

/// `MatMul` and, past reshapes and transposes, `BatchNormalization` become a `Gemm`.
pub(super) fn matmul_batch_norm(net: &mut Net, id: OpId) -> Effect {
    if !net.op(id).domain.is_empty() || net.n_output_edges(id) != 1 || net.makes_graph_output(id) {
        return Effect::None;
    }
    let Some(first) = net.first_child(id) else { return Effect::None };
    let mut at = first;
    while matches!(net.op(at).op_type.as_str(), "Reshape" | "Transpose") && net.n_output_edges(at) == 1 {
        match net.first_child(at) {
            Some(next) => at = next,
            None => return Effect::None,
        }
    }
    let norm = at;
    if !net.op(norm).is("BatchNormalization") || net.input_shape(id, 0).is_none_or(|shape| shape.len() != 2) {
        return Effect::None;
    }
    if net.op(norm).outputs.iter().skip(1).any(Option::is_some) {
        return Effect::None;
    }
    let Some(weight) = net.input_constant(id, 1).cloned().filter(|weight| weight.dims.len() == 2) else {
        return Effect::None;
    };
    let fits =
        (1..5).all(|input| net.input_constant(norm, input).is_some_and(|tensor| tensor.dims == weight.dims[1..]));
    let Ok(elem) = weight.element_type() else { return Effect::None };
    if !fits {
        return Effect::None;
    }
    let new_weight =
        net.add_constant(placeholder(&format!("MatMulBnFusion_GemmB_{}", weight.name()), elem, &weight.dims));
    let bias = net.add_constant(placeholder("MatMulBnFusion_GemmBias", elem, &weight.dims[1..]));
    let inputs = vec![net.op(id).input(0), Some(new_weight), Some(bias)];
    let outputs = net.op(id).outputs.clone();
    let gemm = net.add_op(id, "MatMulBnFusion_Gemm", Op { op_type: "Gemm".to_owned(), inputs, ..Op::default() });
    net.remove_op(id);
    for (index, output) in outputs.into_iter().enumerate() {
        net.set_output(gemm, index, output);
    }
    let parent = if first == norm { Some(gemm) } else { net.producer_of_input(norm, 0) };
    net.op_mut(norm).outputs.truncate(1);
    if let Some(parent) = parent {
        net.fuse(&[parent, norm], parent);
    }
    Effect::Removed
}
