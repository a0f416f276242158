//! Nodes that change nothing go: identity_elimination.cc, slice_elimination.cc,
//! unsqueeze_elimination.cc, dropout_elimination.cc, expand_elimination.cc, cast_elimination.cc,
//! pre_shape_node_elimination.cc (ORT 1.31). All providers.

use super::Effect;
use crate::rewrite::content;
use crate::rewrite::infer::axis_from_front;
use crate::rewrite::net::{Net, OpId, known_dim};

fn bypass(net: &mut Net, id: OpId) -> Effect {
    if net.bypass(id) { Effect::Removed } else { Effect::None }
}

/// An `Identity` goes; before a graph output only if nobody else reads its input.
pub(super) fn identity(net: &mut Net, id: OpId) -> Effect {
    if net.can_remove(id) {
        return bypass(net, id);
    }
    let op = net.op(id);
    let (Some(input), Some(output)) = (op.input(0), op.output(0)) else { return Effect::None };
    if net.has_output_edges(id) || op.outputs.len() != 1 || !net.arg(output).is_output {
        return Effect::None;
    }
    let Some((producer, index)) = net.arg(input).producer else { return Effect::None };
    if net.arg(input).is_output || net.arg(input).uses.len() > 1 {
        return Effect::None;
    }
    net.remove_op(id);
    net.set_output(producer, index, Some(output));
    Effect::Removed
}

/// A `Slice` from 0 to the largest number goes.
pub(super) fn slice(net: &mut Net, id: OpId) -> Effect {
    if !net.can_remove(id) {
        return Effect::None;
    }
    let op = net.op(id);
    let (starts, ends) = if net.opset() < 10 {
        (op.ints("starts").map(<[i64]>::to_vec), op.ints("ends").map(<[i64]>::to_vec))
    } else {
        let values = |index: usize| op.input(index).and_then(|arg| net.constant_ints(arg));
        let (starts, ends) = (values(1), values(2));
        if op.input(3).is_some() {
            let n = starts.as_ref().map_or(0, Vec::len);
            if values(3).is_none_or(|axes| axes.len() != n) {
                return Effect::None;
            }
            if op.input(4).is_some()
                && values(4).is_none_or(|steps| steps.len() != n || steps.iter().any(|step| *step != 1))
            {
                return Effect::None;
            }
        }
        (starts, ends)
    };
    let (Some(starts), Some(ends)) = (starts, ends) else { return Effect::None };
    if starts.is_empty() || starts.len() != ends.len() {
        return Effect::None;
    }
    if starts.iter().any(|start| *start != 0) || ends.iter().any(|end| *end != i64::MAX) {
        return Effect::None;
    }
    bypass(net, id)
}

/// An `Unsqueeze` (before opset 13) of an initializer becomes one.
pub(super) fn unsqueeze(net: &mut Net, id: OpId) -> Effect {
    let op = net.op(id);
    let (Some(input), Some(output), Some(axes)) = (op.input(0), op.output(0), op.ints("axes")) else {
        return Effect::None;
    };
    let axes = axes.to_vec();
    let Some(tensor) = net.constant(input).cloned() else { return Effect::None };
    if net.arg(output).is_output {
        return Effect::None;
    }
    let rank = axes.len() + tensor.dims.len();
    let mut dims = vec![0; rank];
    for axis in axes {
        let Some(axis) = axis_from_front(axis, rank) else { return Effect::None };
        dims[axis] = 1;
    }
    let mut rest = tensor.dims.iter();
    for dim in dims.iter_mut().filter(|dim| **dim == 0) {
        *dim = rest.next().copied().unwrap_or(1);
    }
    let mut new = (*tensor).clone();
    new.dims = dims;
    new.name = Some(format!("UnsqueezeElimination_{}", net.arg(input).name));
    let new = net.add_constant(new);
    net.replace_uses(output, new);
    net.remove_op(id);
    Effect::Removed
}

/// A `Dropout` whose mask nobody wants goes.
pub(super) fn dropout(net: &mut Net, id: OpId) -> Effect {
    let mask_is_used = net.op(id).output(1).is_some_and(|mask| !net.arg(mask).uses.is_empty());
    if !net.can_remove(id) || mask_is_used { Effect::None } else { bypass(net, id) }
}

/// An `Expand` to a shape that its input has already goes.
pub(super) fn expand(net: &mut Net, id: OpId) -> Effect {
    if !net.can_remove(id) {
        return Effect::None;
    }
    let op = net.op(id);
    let Some(shape) = net.input_shape(id, 0) else { return Effect::None };
    let Some(target) = op.input(1).and_then(|arg| net.constant_ints(arg)).filter(|target| !target.is_empty()) else {
        return Effect::None;
    };
    if shape.len() < target.len() {
        return Effect::None;
    }
    let same = shape.iter().rev().zip(target.iter().rev()).all(|(dim, want)| match known_dim(dim) {
        Some(have) => have == *want || *want <= 1,
        None => *want <= 1,
    });
    if same { bypass(net, id) } else { Effect::None }
}

/// A `Cast` to the type that its input has goes.
pub(super) fn cast(net: &mut Net, id: OpId) -> Effect {
    let from = net.input_elem(id, 0).map(|elem| i64::from(elem.number()));
    if from.is_some() && from == net.op(id).int("to") && net.can_remove(id) { bypass(net, id) } else { Effect::None }
}

/// A `Cast` that only `Shape` nodes read goes.
pub(super) fn before_shape(net: &mut Net, id: OpId) -> Effect {
    let op = net.op(id);
    let (Some(input), Some(output)) = (op.input(0), op.output(0)) else { return Effect::None };
    let readers = &net.arg(output).uses;
    let only_shapes = !readers.is_empty() && readers.iter().all(|reading| net.op(reading.op).is("Shape"));
    if net.opset() < 13 || !only_shapes || !net.can_remove(id) {
        return Effect::None;
    }
    net.replace_uses(output, input);
    net.remove_op(id);
    Effect::Removed
}

/// Whether the constant at an input is one number.
pub(super) fn constant_number(net: &Net, id: OpId, input: usize) -> Option<f64> {
    content::first_number(net.input_constant(id, input)?)
}
