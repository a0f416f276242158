//! A number beside a dequantized value at `Where` is quantized too, so that all of it can be.
//!
//! where_dummy_dq.cc (ORT 1.31), level 1, all providers.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::Context;
use super::content;
use super::net::{ArgId, Net, Op, OpId};

/// Puts a `DequantizeLinear` of made-up parameters before such numbers; returns how many.
pub(super) fn dequantize_numbers(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_made = 0;
    for id in net.topological_order() {
        if net.op(id).op_type == "Where"
            && let Some((slot, dequantize, number)) = number_beside(net, id)
        {
            n_made += usize::from(insert(net, id, slot, dequantize, number).is_some());
        }
    }
    n_made
}

fn producer_named(net: &Net, id: OpId, slot: usize, op_type: &str) -> Option<OpId> {
    net.producer_of_input(id, slot).filter(|producer| net.op(*producer).op_type == op_type)
}

/// The place of the number, the dequantization at the other place, and the number.
fn number_beside(net: &Net, id: OpId) -> Option<(usize, OpId, ArgId)> {
    let output = net.op(id).output(0)?;
    let [reading] = net.arg(output).uses.as_slice() else { return None };
    if net.op(reading.op).op_type != "QuantizeLinear" {
        return None;
    }
    let number = |slot: usize| {
        let arg = net.op(id).input(slot).filter(|arg| net.constant(*arg).is_some())?;
        net.arg(arg).shape.as_ref().is_some_and(Vec::is_empty).then_some(arg)
    };
    let found =
        |slot: usize, other: usize| Some((slot, producer_named(net, id, other, "DequantizeLinear")?, number(slot)?));
    found(2, 1).or_else(|| found(1, 2))
}

fn insert(net: &mut Net, id: OpId, slot: usize, dequantize: OpId, number: ArgId) -> Option<()> {
    let op = net.op(dequantize);
    let (input, zero) = (op.input(0)?, op.input(2)?);
    let quantize = net.first_child(id)?;
    let quantized = net.op(quantize).output(0)?;
    if net.arg(input).elem != net.arg(quantized).elem {
        return None;
    }
    let scale = net.constant(op.input(1)?)?.element_type().ok()?;
    let zero = net.constant(zero)?.element_type().ok()?;
    let tensor = net.constant(number)?;
    if tensor.element_type() != Ok(DataType::Float) || scale != DataType::Float {
        return None;
    }
    let value = content::first_number(tensor)? as f32;
    // Zero point, and the bounds of the type.
    let (middle, low, high) = match zero {
        DataType::Int8 => (0, -128, 127),
        DataType::Uint8 => (127, 0, 255),
        DataType::Int16 => (0, -32768, 32767),
        DataType::Uint16 => (32767, 0, 65535),
        _ => return None,
    };
    let held = if value > 0.0 {
        high
    } else if value == 0.0 {
        middle
    } else {
        low
    };
    let step = if value == 0.0 { 1.0 } else { value / (held - middle) as f32 };
    let (domain, name) = (net.op(dequantize).domain.clone(), net.op(id).name.clone());
    let whole = |net: &mut Net, what: &str, number: i32| {
        let n_bytes = usize::try_from(zero.bits() / 8).unwrap_or(1);
        let raw = number.to_le_bytes()[..n_bytes.min(4)].to_vec();
        net.add_constant(TensorProto::from_raw(&format!("{name}_dummy_{what}"), zero, &[], raw))
    };
    let held = whole(net, "xq", held);
    let step = net.add_constant(TensorProto::from_f32(&format!("{name}_dummy_scale"), &[], &[step]));
    let middle = whole(net, "zp", middle);
    let made = net.add_arg(&format!("{name}_dummy_dq"), Some(DataType::Float), Some(Vec::new()));
    let inputs = vec![Some(held), Some(step), Some(middle)];
    let op = Op { op_type: "DequantizeLinear".to_owned(), domain, inputs, ..Op::default() };
    let new = net.add_op(id, &format!("{name}_dummy_dq"), op);
    net.set_output(new, 0, Some(made));
    net.set_input(id, slot, Some(made));
    Some(())
}
