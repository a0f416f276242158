//! Constant additions, factors and batch normalization go into the weights of a convolution:
//! conv_add_fusion.cc, conv_mul_fusion.cc, conv_bn_fusion.cc (ORT 1.31). All providers.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::Effect;
use crate::rewrite::content::placeholder;
use crate::rewrite::net::{Net, OpId};

/// The node after a convolution that may be folded into it.
fn next(net: &Net, conv: OpId, op_type: &str) -> Option<OpId> {
    if net.n_output_edges(conv) != 1 || net.makes_graph_output(conv) {
        return None;
    }
    let next = net.only_child(conv, op_type)?;
    let op = net.op(conv);
    let constant_bias = op.inputs.len() != 3 || net.input_is_constant(conv, 2);
    let fits = net.n_input_edges(next) == 1
        && net.same_provider(conv, next)
        && net.input_is_constant(conv, 1)
        && constant_bias
        && net.input_is_constant(next, 1);
    fits.then_some(next)
}

fn is_float(tensor: &TensorProto) -> bool {
    matches!(tensor.element_type(), Ok(DataType::Float | DataType::Float16 | DataType::Double))
}

/// Whether a tensor has one value per output channel, as seen from the convolution's output.
fn is_per_channel(tensor: &TensorProto, weight: &TensorProto) -> bool {
    let axis = match weight.dims.len().checked_sub(tensor.dims.len()) {
        Some(0) => 1,
        Some(1) => 0,
        _ => return false,
    };
    tensor.dims.get(axis) == weight.dims.first()
        && tensor.dims.iter().enumerate().all(|(at, dim)| at == axis || *dim == 1)
}

fn bias_fits(net: &Net, conv: OpId, weight: &TensorProto, elem: Option<i32>) -> bool {
    net.op(conv).inputs.len() != 3
        || net.input_constant(conv, 2).is_some_and(|bias| bias.data_type == elem && bias.dims == weight.dims[..1])
}

fn set_weight(net: &mut Net, conv: OpId, input: usize, name: &str, elem: DataType, dims: &[i64]) {
    let new = net.add_constant(placeholder(name, elem, dims));
    net.set_input(conv, input, Some(new));
}

/// A constant addition becomes the bias.
pub(super) fn add(net: &mut Net, conv: OpId) -> Effect {
    let Some(add) = next(net, conv, "Add") else { return Effect::None };
    let (Some(weight), Some(addend)) = (net.input_constant(conv, 1).cloned(), net.input_constant(add, 1).cloned())
    else {
        return Effect::None;
    };
    let same_type = weight.data_type == addend.data_type;
    if !is_float(&weight) || !same_type || weight.dims.len() <= 2 || !is_per_channel(&addend, &weight) {
        return Effect::None;
    }
    let (Ok(elem), true) = (weight.element_type(), bias_fits(net, conv, &weight, addend.data_type)) else {
        return Effect::None;
    };
    let name = match net.op(conv).input(2) {
        Some(bias) => format!("ConvAddFusion_B_{}", net.arg(bias).name),
        None => format!("ConvAddFusion_Add_B_{}", addend.name()),
    };
    set_weight(net, conv, 2, &name, elem, &weight.dims[..1]);
    net.fuse(&[conv, add], conv);
    Effect::Changed
}

/// A constant factor goes into weight and bias.
pub(super) fn mul(net: &mut Net, conv: OpId) -> Effect {
    let Some(mul) = next(net, conv, "Mul") else { return Effect::None };
    let (Some(weight), Some(factor)) = (net.input_constant(conv, 1).cloned(), net.input_constant(mul, 1).cloned())
    else {
        return Effect::None;
    };
    let same_type = weight.data_type == factor.data_type;
    let fits = factor.dims.is_empty() || is_per_channel(&factor, &weight);
    if !is_float(&weight) || !same_type || weight.dims.len() <= 2 || !fits {
        return Effect::None;
    }
    let (Ok(elem), true) = (weight.element_type(), bias_fits(net, conv, &weight, factor.data_type)) else {
        return Effect::None;
    };
    set_weight(net, conv, 1, &format!("ConvMulFusion_W_{}", weight.name()), elem, &weight.dims);
    if net.op(conv).inputs.len() == 3 {
        set_weight(net, conv, 2, &format!("ConvMulFusion_Mul_B_{}", factor.name()), elem, &weight.dims[..1]);
    }
    net.fuse(&[conv, mul], conv);
    Effect::Changed
}

/// Batch normalization goes into weight and bias.
pub(super) fn batch_norm(net: &mut Net, conv: OpId) -> Effect {
    let Some(norm) = next(net, conv, "BatchNormalization").filter(|_| net.opset() >= 7) else { return Effect::None };
    if net.op(norm).outputs.iter().skip(1).any(Option::is_some) {
        return Effect::None;
    }
    let Some(weight) = net.input_constant(conv, 1).cloned() else { return Effect::None };
    for input in 1..5 {
        let Some(tensor) = net.input_constant(norm, input) else { return Effect::None };
        if !is_float(tensor) || tensor.data_type != weight.data_type || tensor.dims != weight.dims[..1] {
            return Effect::None;
        }
    }
    let (Ok(elem), true) = (weight.element_type(), bias_fits(net, conv, &weight, weight.data_type)) else {
        return Effect::None;
    };
    if weight.dims.len() <= 2 {
        return Effect::None;
    }
    let bias_name = net.input_constant(norm, 2).map_or(String::new(), |tensor| tensor.name().to_owned());
    set_weight(net, conv, 1, &format!("ConvBnFusion_W_{}", weight.name()), elem, &weight.dims);
    set_weight(net, conv, 2, &format!("ConvBnFusion_BN_B_{bias_name}"), elem, &weight.dims[..1]);
    net.op_mut(norm).outputs.truncate(1);
    net.fuse(&[conv, norm], conv);
    Effect::Changed
}
