//! Float weights and biases between quantized values are quantized too.
//!
//! qdq_transformer/weight_bias_quantization.cc (ORT 1.31), level 1, all providers: a convolution or
//! `Gemm` that reads a dequantized value and whose result is quantized gets an 8-bit weight and a
//! 32-bit bias, so that the three can become one quantized node.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::Context;
use super::infer::axis_from_front;
use super::net::{ArgId, Net, Op, OpId};

/// Quantizes weights and biases; returns how many nodes were served.
pub(super) fn quantize_weights(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_served = 0;
    for id in net.topological_order() {
        let is_asked = net.get(id).is_some_and(|op| matches!(op.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm"));
        if is_asked && let Some(plan) = Plan::of(net, id) {
            plan.carry_out(net, id);
            n_served += 1;
        }
    }
    n_served
}

/// What a node lacks.
struct Plan {
    input_scale: ArgId,
    weight: ArgId,
    /// The scale of a weight that is quantized already.
    weight_scale: Option<ArgId>,
    /// The float bias.
    bias: Option<ArgId>,
    per_tensor: bool,
}

fn dequantizer(net: &Net, arg: ArgId) -> Option<OpId> {
    net.producer(arg).filter(|id| net.op(*id).op_type == "DequantizeLinear")
}

/// A scalar, or a vector of one (`optimizer_utils::IsScalar`).
fn is_scalar(net: &Net, arg: ArgId) -> bool {
    net.arg(arg).shape.as_deref().is_some_and(|shape| matches!(shape, [] | [Dim::Known(1)]))
}

impl Plan {
    fn of(net: &Net, id: OpId) -> Option<Self> {
        let op = net.op(id);
        let (input, weight) = (op.input(0)?, op.input(1)?);
        let input_scale = net.op(dequantizer(net, input)?).input(1)?;
        if !is_scalar(net, input_scale) || !leads_to_quantizer(net, id) {
            return None;
        }
        let quantized = dequantizer(net, weight);
        if quantized.is_none() && !(net.is_constant(weight) && net.arg(weight).elem == Some(DataType::Float)) {
            return None;
        }
        let bias = op.input(2);
        let n_biases = match bias {
            None => None,
            Some(bias) => match net.arg(bias).static_shape().as_deref() {
                Some(&[n_biases]) if net.is_constant(bias) => Some(n_biases),
                _ => return None,
            },
        };
        if quantized.is_some() && bias.is_none() {
            return None;
        }
        let weight_scale = quantized.and_then(|dequantizer| net.op(dequantizer).input(1));
        let per_tensor = weight_scale.is_none_or(|scale| is_scalar(net, scale));
        if !per_tensor {
            let scales = net.arg(weight_scale?).static_shape()?;
            let by_axis = net.op(quantized?);
            let rank = net.arg(by_axis.input(0)?).shape.as_ref()?.len();
            let axis = axis_from_front(by_axis.int("axis").unwrap_or(1), rank)?;
            let expected = match op.op_type.as_str() {
                "Gemm" => usize::from(op.int("transB").unwrap_or(0) == 0),
                "ConvTranspose" => 1,
                _ => 0,
            };
            let is_blocked = by_axis.int("block_size").unwrap_or(0) != 0;
            if scales.as_slice() != [n_biases?] || is_blocked || axis != expected {
                return None;
            }
        }
        Some(Self { input_scale, weight, weight_scale, bias, per_tensor })
    }

    fn carry_out(self, net: &mut Net, id: OpId) {
        let weight_scale = match self.weight_scale {
            Some(scale) => scale,
            None => quantize_weight(net, id, self.weight),
        };
        if let Some(bias) = self.bias {
            quantize_bias(net, id, bias, self.input_scale, weight_scale, self.per_tensor);
        }
    }
}

/// Whether the only reader is a quantization, behind `Relu` and `Clip` alone.
fn leads_to_quantizer(net: &Net, id: OpId) -> bool {
    let mut at = id;
    loop {
        let op = net.op(at);
        let [Some(output)] = op.outputs.as_slice() else { return false };
        let mut readers: Vec<OpId> = net.arg(*output).uses.iter().map(|reading| reading.op).collect();
        readers.dedup();
        let [reader] = readers.as_slice() else { return false };
        match net.op(*reader).op_type.as_str() {
            "QuantizeLinear" => return true,
            "Relu" | "Clip" => at = *reader,
            _ => return false,
        }
    }
}

/// A node of one output that is like another in type and shape.
fn add(net: &mut Net, like: OpId, op_type: &str, inputs: Vec<ArgId>, elem: DataType, shape_of: ArgId) -> (OpId, ArgId) {
    let inputs = inputs.into_iter().map(Some).collect();
    let name = format!("{}_{op_type}", net.op(like).name);
    let id = net.add_op(like, &name, Op { op_type: op_type.to_owned(), inputs, ..Op::default() });
    let shape = net.arg(shape_of).shape.clone();
    let output = net.add_arg(&format!("{name}_out"), Some(elem), shape);
    net.set_output(id, 0, Some(output));
    (id, output)
}

/// Eight bits, symmetric, one scale; which number it is does not matter here.
fn quantize_weight(net: &mut Net, id: OpId, weight: ArgId) -> ArgId {
    let scale = net.add_constant(TensorProto::from_f32("weight_scale", &[], &[1.0]));
    let zero = net.add_constant(TensorProto::from_raw("weight_zp", DataType::Int8, &[], vec![0]));
    let (_, bytes) = add(net, id, "QuantizeLinear", vec![weight, scale, zero], DataType::Int8, weight);
    let (_, floats) = add(net, id, "DequantizeLinear", vec![bytes, scale, zero], DataType::Float, weight);
    net.set_input(id, 1, Some(floats));
    scale
}

/// The bias over both scales, rounded to 32 bits.
fn quantize_bias(net: &mut Net, id: OpId, bias: ArgId, input_scale: ArgId, weight_scale: ArgId, per_tensor: bool) {
    let (_, scale) = add(net, id, "Mul", vec![input_scale, weight_scale], DataType::Float, weight_scale);
    let (_, quotient) = add(net, id, "Div", vec![bias, scale], DataType::Float, bias);
    let (_, rounded) = add(net, id, "Round", vec![quotient], DataType::Float, bias);
    let (cast, whole) = add(net, id, "Cast", vec![rounded], DataType::Int32, bias);
    net.set_attribute(cast, "to", AttributeValue::Int(i64::from(DataType::Int32.number())));
    let (dequantize, floats) = add(net, id, "DequantizeLinear", vec![whole, scale], DataType::Float, bias);
    if !per_tensor {
        net.set_attribute(dequantize, "axis", AttributeValue::Int(0));
    }
    net.set_input(id, 2, Some(floats));
}
