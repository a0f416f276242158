//! Quantized node units are mended after transposes have moved (`FixQDQNodeUnits`).
//!
//! onnx_transpose_optimization.cc (ORT 1.31): a dequantization that is quantized again alike goes, and
//! a transpose that lost one end of its unit gets a pair there.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;

use super::super::Provider;
use super::super::content;
use super::super::net::{ArgId, Net, Op, OpId, Use};
use super::perm::invert;
use super::stated_perm;

/// Mends all units whose nodes are this provider's or nobody's; returns how many.
pub(super) fn mend(net: &mut Net, provider: Option<Provider>) -> usize {
    let mut n_mended = 0;
    for id in net.ids().collect::<Vec<_>>() {
        let Some(op) = net.get(id).filter(|op| op.provider.is_none() || op.provider == provider) else { continue };
        let done = match op.op_type.as_str() {
            "QuantizeLinear" => remove_empty(net, id),
            "Transpose" => add_after(net, id) || add_before(net, id),
            _ => false,
        };
        n_mended += usize::from(done);
    }
    n_mended
}

fn is(net: &Net, id: OpId, op_type: &str) -> bool {
    net.op(id).op_type == op_type
}

/// The one node that reads a value, if nothing else does.
fn only_reader(net: &Net, arg: ArgId) -> Option<OpId> {
    let value = net.arg(arg);
    let first = value.uses.first()?.op;
    let explicit = |reading: &Use| reading.op == first && reading.slot < net.op(first).inputs.len();
    (!value.is_output && value.uses.iter().all(explicit)).then_some(first)
}

/// Type, scale and zero point are the same.
fn match_up(net: &Net, dequantize: OpId, quantize: OpId) -> bool {
    let (before, after) = (net.op(dequantize), net.op(quantize));
    let elem = |arg: Option<ArgId>| arg.and_then(|arg| net.arg(arg).elem);
    let (from, to) = (elem(before.input(0)), elem(after.output(0)));
    if before.domain != after.domain || from.is_none() || from != to {
        return false;
    }
    let numbers = |arg: ArgId| {
        let tensor = net.constant(arg)?;
        let whole =
            || content::integers(tensor).map(|numbers| numbers.into_iter().map(|number| number as f64).collect());
        content::floats(tensor).or_else(whole)
    };
    let same = |slot: usize| match (before.input(slot), after.input(slot)) {
        (one, other) if one == other => true,
        (Some(one), Some(other)) => numbers(one).is_some() && numbers(one) == numbers(other),
        // A zero point that is left out is zero.
        (Some(one), None) | (None, Some(one)) => {
            slot == 2 && numbers(one).is_some_and(|numbers: Vec<f64>| numbers.iter().all(|number| *number == 0.0))
        }
        (None, None) => true,
    };
    same(1) && same(2)
}

fn remove_empty(net: &mut Net, quantize: OpId) -> bool {
    let Some(dequantize) = net.producer_of_input(quantize, 0).filter(|id| is(net, *id, "DequantizeLinear")) else {
        return false;
    };
    let (Some(source), Some(between), Some(result)) =
        (net.op(dequantize).input(0), net.op(dequantize).output(0), net.op(quantize).output(0))
    else {
        return false;
    };
    if only_reader(net, between) != Some(quantize) || !match_up(net, dequantize, quantize) {
        return false;
    }
    if let Some(reader) = only_reader(net, result) {
        for slot in 0..net.op(reader).inputs.len() {
            if net.op(reader).input(slot) == Some(result) {
                net.set_input(reader, slot, Some(source));
            }
        }
        net.remove_op(quantize);
        net.remove_op(dequantize);
        return true;
    }
    if !net.arg(result).uses.is_empty() || !net.arg(result).is_output {
        return false;
    }
    let Some(parent) = net.producer(source).filter(|_| only_reader(net, source) == Some(dequantize)) else {
        return false;
    };
    let Some(index) = net.op(parent).outputs.iter().position(|output| *output == Some(source)) else { return false };
    net.remove_op(quantize);
    net.remove_op(dequantize);
    net.set_output(parent, index, Some(result));
    true
}

/// How a node quantizes: for all alike, or along an axis; blocks are left alone.
fn axis_of(net: &Net, id: OpId) -> Option<Option<i64>> {
    let scale = net.input_shape(id, 1)?;
    if scale.is_empty() || scale == [Dim::Known(1)] {
        return Some(None);
    }
    let rank = net.input_shape(id, 0)?.len() as i64;
    let axis = net.op(id).int("axis").unwrap_or(1);
    let axis = if axis < 0 { axis + rank } else { axis };
    let by_blocks = net.op(id).int("block_size").unwrap_or(0) != 0;
    (!by_blocks && (0..rank).contains(&axis)).then_some(Some(axis))
}

/// A quantization and a dequantization with the parameters of another node, apart from their inputs.
fn pair(net: &Net, like: OpId, axis: Option<i64>) -> [Op; 2] {
    let of = net.op(like);
    ["QuantizeLinear", "DequantizeLinear"].map(|op_type| {
        let mut op =
            Op { op_type: op_type.to_owned(), domain: of.domain.clone(), provider: of.provider, ..Op::default() };
        op.inputs = vec![None, of.input(1), of.input(2)];
        op.inputs.truncate(of.inputs.len());
        op.attributes.extend(axis.map(|axis| ("axis".to_owned(), AttributeValue::Int(axis))));
        op
    })
}

/// Puts a pair behind an output, which the dequantization gives from then on.
fn insert(net: &mut Net, producer: OpId, output: ArgId, elem: Option<DataType>, pair: [Op; 2]) {
    let Some(index) = net.op(producer).outputs.iter().position(|own| *own == Some(output)) else { return };
    let shape = net.arg(output).shape.clone();
    let name = net.arg(output).name.clone();
    let plain = net.add_arg(&name, net.arg(output).elem, shape.clone());
    let quantized = net.add_arg(&name, elem, shape);
    let [quantize, dequantize] = pair;
    net.set_output(producer, index, Some(plain));
    for (op, from, to) in [(quantize, plain, quantized), (dequantize, quantized, output)] {
        let name = net.generate_op_name(&op.op_type);
        let id = net.push_op(Op { name, ..op });
        net.set_input(id, 0, Some(from));
        net.set_output(id, 0, Some(to));
    }
}

/// `DQ -> Transpose` without a quantization after it.
fn add_after(net: &mut Net, transpose: OpId) -> bool {
    let Some(dequantize) = net.producer_of_input(transpose, 0).filter(|id| is(net, *id, "DequantizeLinear")) else {
        return false;
    };
    let (Some(between), Some(output)) = (net.op(dequantize).output(0), net.op(transpose).output(0)) else {
        return false;
    };
    let mut readers: Vec<OpId> = net.arg(output).uses.iter().map(|reading| reading.op).collect();
    readers.dedup();
    if readers.len() > 1 || readers.first().is_some_and(|reader| is(net, *reader, "QuantizeLinear")) {
        return false;
    }
    let Some(axis) = axis_of(net, dequantize).filter(|_| only_reader(net, between) == Some(transpose)) else {
        return false;
    };
    let elem = net.input_elem(dequantize, 0);
    if net.op(dequantize).input(2).is_none() && elem != Some(DataType::Uint8) && net.opset() < 21 {
        return false;
    }
    let perm = stated_perm(net, transpose).unwrap_or_default();
    let moved = |axis: i64| usize::try_from(axis).ok().and_then(|axis| invert(&perm).get(axis).copied());
    let pair = pair(net, dequantize, axis.and_then(moved));
    insert(net, transpose, output, elem, pair);
    true
}

/// `Transpose -> Q` without a dequantization before it.
fn add_before(net: &mut Net, transpose: OpId) -> bool {
    let (Some(input), Some(output)) = (net.op(transpose).input(0), net.op(transpose).output(0)) else { return false };
    let Some(quantize) = only_reader(net, output).filter(|id| is(net, *id, "QuantizeLinear")) else { return false };
    let Some(producer) = net.producer(input).filter(|id| !is(net, *id, "DequantizeLinear")) else { return false };
    if net.arg(input).uses.len() != 1 {
        return false;
    }
    let Some(axis) = axis_of(net, quantize) else { return false };
    let elem = net.op(quantize).output(0).and_then(|arg| net.arg(arg).elem);
    let perm = stated_perm(net, transpose).unwrap_or_default();
    let moved = |axis: i64| usize::try_from(axis).ok().and_then(|axis| perm.get(axis).copied());
    let pair = pair(net, quantize, axis.and_then(moved));
    insert(net, producer, input, elem, pair);
    true
}
