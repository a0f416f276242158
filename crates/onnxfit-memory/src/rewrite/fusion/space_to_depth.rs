//! Four strided slices and their concatenation become `SpaceToDepth`:
//! slice_concat_to_space_to_depth_fusion.cc (ORT 1.31). Level 1, all providers.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::rewrite::Context;
use crate::rewrite::infer::axis_from_front;
use crate::rewrite::net::{ArgId, Net, Op, OpId, known_dim};

/// More channels are a broken file, not an image.
const N_CHANNELS_MAX: i64 = 1 << 24;

/// Fuses each concatenation of the four phases of an image.
pub(crate) fn space_to_depth(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Concat") && op.inputs.len() == 4);
        if fits && net.opset() >= 10 && fuse(net, id).is_some() {
            n_fused += 1;
        }
    }
    n_fused
}

/// The offsets of one slice, if it takes every second row and column to the end.
fn phase(net: &Net, slice: OpId, shape: &[Dim]) -> Option<([i64; 2], [i64; 4])> {
    let op = net.op(slice);
    let list = |slot: usize| net.constant_ints(op.input(slot)?);
    let (starts, ends) = (list(1)?, list(2)?);
    let n = starts.len();
    let axes = if op.input(3).is_some() { list(3)? } else { (0..n as i64).collect() };
    let steps = if op.input(4).is_some() { list(4)? } else { vec![1; n] };
    if n == 0 || ends.len() != n || axes.len() != n || steps.len() != n {
        return None;
    }
    let (mut start, mut end, mut step, mut seen) = ([0; 4], [i64::MAX; 4], [1; 4], [false; 4]);
    for at in 0..n {
        let axis = axis_from_front(axes[at], 4)?;
        if std::mem::replace(&mut seen[axis], true) {
            return None;
        }
        (start[axis], end[axis], step[axis]) = (starts[at], ends[at], steps[at]);
    }
    let to_the_end = (0..4).all(|axis| {
        end[axis] == i64::MAX
            || (end[axis] >= 0 && known_dim(&shape[axis]).is_some_and(|size| size > 0 && end[axis] >= size))
    });
    let is_offset = |at: i64| at == 0 || at == 1;
    let fits = start[..2] == [0, 0] && step == [1, 1, 2, 2] && is_offset(start[2]) && is_offset(start[3]);
    (fits && to_the_end).then_some(([start[2], start[3]], end))
}

fn fuse(net: &mut Net, concat: OpId) -> Option<()> {
    if axis_from_front(net.op(concat).int("axis")?, 4) != Some(1) {
        return None;
    }
    let mut slices = Vec::with_capacity(4);
    let mut blocks: Vec<i64> = Vec::with_capacity(4);
    let mut common: Option<(ArgId, [i64; 4])> = None;
    for slot in 0..4 {
        let slice = net.producer_of_input(concat, slot).filter(|slice| net.op(*slice).is("Slice"))?;
        if !net.same_provider(slice, concat) || net.n_output_edges(slice) != 1 || net.makes_graph_output(slice) {
            return None;
        }
        let input = net.op(slice).input(0)?;
        let shape = net.arg(input).shape.clone().filter(|shape| shape.len() == 4)?;
        if !matches!(net.arg(input).elem, Some(DataType::Float | DataType::Double)) {
            return None;
        }
        let ([row, column], end) = phase(net, slice, &shape)?;
        if *common.get_or_insert((input, end)) != (input, end) || blocks.contains(&(2 * row + column)) {
            return None;
        }
        blocks.push(2 * row + column);
        slices.push(slice);
    }
    let (input, _) = common?;
    let in_order = blocks == [0, 1, 2, 3];
    let shape = net.arg(input).shape.clone()?;
    let channels = known_dim(&shape[1]).filter(|channels| (1..=N_CHANNELS_MAX).contains(channels));
    if !in_order && channels.is_none() {
        return None;
    }
    let mut op = Op { op_type: "SpaceToDepth".to_owned(), inputs: vec![Some(input)], ..Op::default() };
    op.attributes.insert("blocksize".to_owned(), AttributeValue::Int(2));
    let between = (!in_order).then(|| net.add_arg("space_to_depth_out", net.arg(input).elem, None));
    let mut last = net.add_op(concat, "SpaceToDepth", op);
    if let (Some(between), Some(channels)) = (between, channels) {
        net.set_output(last, 0, Some(between));
        let order: Vec<i64> =
            blocks.iter().flat_map(|block| (0..channels).map(move |channel| block * channels + channel)).collect();
        let order = TensorProto::from_i64("space_to_depth_gather_indices", &[order.len() as i64], &order);
        let order = net.add_constant(order);
        let inputs = vec![Some(between), Some(order)];
        let mut op = Op { op_type: "Gather".to_owned(), inputs, ..Op::default() };
        op.attributes.insert("axis".to_owned(), AttributeValue::Int(1));
        last = net.add_op(concat, "Gather", op);
    }
    net.fuse(&[concat], last);
    for slice in slices {
        net.remove_op(slice);
    }
    Some(())
}
