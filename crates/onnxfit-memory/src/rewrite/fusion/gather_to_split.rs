//! Gathers and slices that take a value apart become one `Split`: gather_fusion.cc,
//! `GatherSliceToSplitFusion` (ORT 1.31). CPU and CUDA, from opset 13 on.

use std::collections::BTreeMap;

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::proto::TensorProto;

use super::{CPU_AND_CUDA, runs_on};
use crate::rewrite::Context;
use crate::rewrite::net::{ArgId, Net, Op, OpId, known_dim};

/// Fuses the readers of every value that are gathers and slices along one axis.
pub(crate) fn gather_to_split(net: &mut Net, _: &Context<'_>) -> usize {
    if net.opset() < 13 {
        return 0;
    }
    let mut candidates: Vec<ArgId> = net.inputs.clone();
    candidates.extend(net.arg_ids().filter(|arg| net.arg(*arg).constant.is_some() && !net.arg(*arg).is_input));
    candidates.retain(|arg| net.arg(*arg).uses.len() > 1);
    for id in net.topological_order() {
        let op = net.op(id);
        if op.op_type != "Shape" && op.outputs.len() == 1 && net.n_output_edges(id) > 1 {
            candidates.extend(op.output(0));
        }
    }
    candidates.into_iter().filter(|arg| fuse(net, *arg)).count()
}

fn scalar(net: &Net, arg: Option<ArgId>) -> Option<i64> {
    let arg = arg.filter(|arg| net.is_scalar(*arg))?;
    let tensor = net.constant(arg)?;
    if tensor.element_type() != Ok(onnxfit_onnx::DataType::Int64) {
        return None;
    }
    net.constant_ints(arg)?.first().copied()
}

fn axis_of(net: &Net, id: OpId, rank: i64) -> Option<i64> {
    let op = net.op(id);
    let axis = if op.op_type == "Gather" { op.int("axis").unwrap_or(0) } else { scalar(net, op.input(3))? };
    Some(if axis < 0 { axis + rank } else { axis })
}

/// The part of the axis that a reader takes: from, to, and whether the axis goes away.
fn part(net: &Net, id: OpId, size: i64) -> Option<(i64, i64, bool)> {
    let op = net.op(id);
    let wrap = |at: i64| if at < 0 { at + size } else { at };
    if !runs_on(net, id, CPU_AND_CUDA) || !op.domain.is_empty() {
        return None;
    }
    if op.op_type == "Gather" {
        let start = wrap(scalar(net, op.input(1))?);
        let squeeze = net.input_shape(id, 1)?.is_empty();
        return (0..size).contains(&start).then_some((start, start + 1, squeeze));
    }
    let start = wrap(scalar(net, op.input(1))?).clamp(0, size);
    let end = wrap(scalar(net, op.input(2))?).clamp(0, size);
    if op.inputs.len() >= 5 && scalar(net, op.input(4)) != Some(1) {
        return None;
    }
    (start < end).then_some((start, end, false))
}

fn fuse(net: &mut Net, arg: ArgId) -> bool {
    let Some(shape) = net.arg(arg).shape.clone() else { return false };
    let rank = shape.len() as i64;
    let mut readers: Vec<OpId> = Vec::new();
    for reading in &net.arg(arg).uses {
        let op_type = net.op(reading.op).op_type.as_str();
        if reading.slot == 0 && matches!(op_type, "Gather" | "Slice") && !readers.contains(&reading.op) {
            readers.push(reading.op);
        }
    }
    let Some(axis) = readers.first().and_then(|first| axis_of(net, *first, rank)).filter(|_| readers.len() >= 2) else {
        return false;
    };
    let Some(size) = usize::try_from(axis).ok().and_then(|axis| known_dim(shape.get(axis)?)) else { return false };
    let mut parts: BTreeMap<i64, (i64, bool, OpId)> = BTreeMap::new();
    let mut taken = 0;
    for reader in &readers {
        if axis_of(net, *reader, rank) != Some(axis) {
            return false;
        }
        let Some((start, end, squeeze)) = part(net, *reader, size) else { return false };
        let overlaps = parts.iter().any(|(from, (to, ..))| start < *to && *from < end);
        if overlaps || parts.insert(start, (end, squeeze, *reader)).is_some() {
            return false;
        }
        taken += end - start;
    }
    if taken != size {
        return false;
    }
    let elem = net.arg(arg).elem;
    let mut outputs = Vec::new();
    let mut sizes = Vec::new();
    for (start, (end, squeeze, reader)) in &parts {
        sizes.push(end - start);
        let original = net.op(*reader).output(0);
        if !squeeze {
            outputs.push(original);
            continue;
        }
        let mut dims = shape.clone();
        dims[axis as usize] = Dim::Known(end - start);
        let output = net.add_arg("split_output", elem, Some(dims));
        let axes = net.add_constant(TensorProto::from_i64("squeeze_axes", &[1], &[axis]));
        let op = Op { op_type: "Squeeze".to_owned(), inputs: vec![Some(output), Some(axes)], ..Op::default() };
        let squeeze = net.add_op(readers[0], "Squeeze", op);
        net.set_output(squeeze, 0, original);
        outputs.push(Some(output));
    }
    let splits = net.add_constant(TensorProto::from_i64("splits", &[sizes.len() as i64], &sizes));
    let name = format!("{}/GatherSliceToSplitFusion", net.op(readers[0]).name);
    let mut op = Op { op_type: "Split".to_owned(), inputs: vec![Some(arg), Some(splits)], ..Op::default() };
    op.attributes.insert("axis".to_owned(), AttributeValue::Int(axis));
    let split = net.add_op(readers[0], &name, op);
    for (index, output) in outputs.into_iter().enumerate() {
        net.set_output(split, index, output);
    }
    for reader in readers {
        net.remove_op(reader);
    }
    true
}
