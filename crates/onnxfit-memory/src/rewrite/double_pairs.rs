//! Two pairs of quantization and dequantization in a row become one.
//!
//! double_qdq_pairs_remover.cc (ORT 1.31), level 1, all providers.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::net::{Net, OpId};
use super::{Context, content};

/// Removes the inner two of `Q -> DQ -> Q -> DQ`; returns how many times.
pub(super) fn merge_pairs(net: &mut Net, _: &Context<'_>) -> usize {
    net.topological_order().into_iter().filter(|id| net.get(*id).is_some() && merge(net, *id).is_some()).count()
}

fn is(net: &Net, id: OpId, op_type: &str) -> bool {
    net.op(id).op_type == op_type
}

/// What a quantization gives, as far as it can be told: by a constant zero point, or as stated.
fn quantized_type(net: &Net, id: OpId) -> Option<DataType> {
    let op = net.op(id);
    match op.input(2) {
        Some(zero) => net.constant(zero)?.element_type().ok(),
        None => match op.int("output_dtype") {
            Some(number) => DataType::from_number(i32::try_from(number).ok()?),
            None => Some(DataType::Uint8),
        },
    }
}

fn merge(net: &mut Net, first: OpId) -> Option<()> {
    let only_next = |net: &Net, id: OpId, op_type: &str| {
        net.first_child(id).filter(|next| net.has_only_edges(id, 1) && is(net, *next, op_type))
    };
    if !is(net, first, "QuantizeLinear") {
        return None;
    }
    let back = only_next(net, first, "DequantizeLinear").filter(|id| net.n_input_edges(*id) == 1)?;
    let again = only_next(net, back, "QuantizeLinear")?;
    let elem = quantized_type(net, first)?;
    if net.makes_graph_output(again) || quantized_type(net, again) != Some(elem) || !are_paired(net, first, back) {
        return None;
    }
    let last: Vec<OpId> = net.output_edges(again).into_iter().map(|edge| edge.op).collect();
    if last.is_empty() || !last.iter().all(|id| is(net, *id, "DequantizeLinear") && are_paired(net, again, *id)) {
        return None;
    }
    if let Some((scale, zero)) = recomputed(net, back, again, elem)? {
        for id in std::iter::once(first).chain(last.iter().copied()) {
            for (slot, value) in [(1, &scale), (2, &zero)] {
                let name = net.op(id).input(slot).map(|arg| format!("DoubleQDQRemoved_{}", net.arg(arg).name));
                let arg = net.add_constant(TensorProto { name, ..value.clone() });
                net.set_input(id, slot, Some(arg));
            }
        }
    }
    let output = net.op(first).output(0);
    for id in last {
        net.set_input(id, 0, output);
    }
    net.remove_op(again);
    net.remove_op(back);
    Some(())
}

/// One constant number at this place.
fn single(net: &Net, id: OpId, slot: usize) -> Option<&TensorProto> {
    let tensor: &TensorProto = net.input_constant(id, slot)?;
    (content::count(&tensor.dims) == 1 && tensor.dims.len() <= 1).then_some(tensor)
}

/// `IsQDQPairSupported`: scale and zero point are equal constant numbers, none left out.
pub(super) fn are_paired(net: &Net, one: OpId, other: OpId) -> bool {
    [1, 2].into_iter().all(|slot| {
        let (Some(left), Some(right)) = (single(net, one, slot), single(net, other, slot)) else { return false };
        let same_arg = net.op(one).input(slot) == net.op(other).input(slot);
        let number = content::first_number(left);
        left.data_type == right.data_type && (same_arg || (number.is_some() && number == content::first_number(right)))
    })
}

/// One number of a pair that stands for two, if those differ: the range that both can hold.
///
/// `None` if it cannot be told, `Some(None)` if nothing changes.
fn recomputed(net: &Net, one: OpId, other: OpId, elem: DataType) -> Option<Option<(TensorProto, TensorProto)>> {
    let same_args = [1, 2].into_iter().all(|slot| net.op(one).input(slot) == net.op(other).input(slot));
    if same_args {
        return Some(None);
    }
    let number = |id: OpId, slot: usize| content::first_number(single(net, id, slot)?);
    let (scale_1, scale_2) = (number(one, 1)? as f32, number(other, 1)? as f32);
    let (zero_1, zero_2) = (number(one, 2)? as f32, number(other, 2)? as f32);
    if single(net, one, 1)?.element_type() != Ok(DataType::Float) {
        return None;
    }
    if zero_1 == zero_2 && (scale_1 - scale_2).abs() < 1e-20 {
        return Some(None);
    }
    let (low, high) = match elem {
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint16 => (0.0, 65535.0),
        DataType::Int16 => (-32768.0, 32767.0),
        _ => return None,
    };
    let from = ((low - zero_1) * scale_1).max((low - zero_2) * scale_2);
    let to = ((high - zero_1) * scale_1).min((high - zero_2) * scale_2);
    let scale = (to - from) / (high - low);
    let zero = (low - from / scale).round() as i32;
    let (scale_dims, zero_dims) = (single(net, one, 1)?.dims.clone(), single(net, one, 2)?.dims.clone());
    let n_bytes = usize::try_from(elem.bits() / 8).ok()?;
    let zero = TensorProto::from_raw("", elem, &zero_dims, zero.to_le_bytes()[..n_bytes].to_vec());
    Some(Some((TensorProto::from_f32("", &scale_dims, &[scale]), zero)))
}
