//! An addition goes into the `Softmax` after it: bias_softmax_fusion.cc (ORT 1.31). CUDA only.

use onnxfit_graph::{AttributeValue, Dim};
use onnxfit_onnx::DataType;

use super::{CUDA, has_types, runs_on};
use crate::rewrite::infer::axis_from_front;
use crate::rewrite::net::{ArgId, Net, Op, OpId};
use crate::rewrite::{Context, MS};

/// `Add` and `Softmax` become `BiasSoftmax`.
pub(crate) fn bias_softmax(net: &mut Net, _: &Context<'_>) -> usize {
    let types = [DataType::Double, DataType::Float16, DataType::Float];
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Add")) && runs_on(net, id, CUDA) && net.has_only_edges(id, 1);
        if !fits || !has_types(net, id, &types, 2) {
            continue;
        }
        let Some(softmax) = net.only_child(id, "Softmax").filter(|next| net.same_provider(id, *next)) else { continue };
        let Some((input, mask, axis, inner)) = aligned(net, id, softmax) else { continue };
        let mut new = Op {
            op_type: "BiasSoftmax".to_owned(),
            domain: MS.to_owned(),
            inputs: vec![Some(input), Some(mask)],
            ..Op::default()
        };
        new.attributes.insert("axis".to_owned(), AttributeValue::Int(axis as i64));
        new.attributes.insert("is_inner_broadcast".to_owned(), AttributeValue::Int(i64::from(inner)));
        let new = net.add_op(id, "BiasSoftmax", new);
        net.fuse(&[id, softmax], new);
        n_fused += 1;
    }
    n_fused
}

/// Input, mask, axis and kind of broadcast, if the shapes line up.
fn aligned(net: &Net, add: OpId, softmax: OpId) -> Option<(ArgId, ArgId, usize, bool)> {
    let one = Dim::Known(1);
    let same = |a: &Dim, b: &Dim| a == b && *a != Dim::Unknown;
    let args = [net.op(add).input(0)?, net.op(add).input(1)?];
    let shapes = [net.arg(args[0]).shape.as_deref()?, net.arg(args[1]).shape.as_deref()?];
    let ranks = shapes.map(<[Dim]>::len);
    let since_13 = net.opset() >= 13;
    let rank = ranks[0].max(ranks[1]);
    let axis = axis_from_front(net.op(softmax).int("axis").unwrap_or(if since_13 { -1 } else { 1 }), rank)?;
    if since_13 && axis != rank - 1 {
        return None;
    }
    let batch = rank - axis;
    if ranks.iter().any(|rank| *rank < batch.max(1)) {
        return None;
    }
    if !(1..=batch).all(|at| same(&shapes[0][ranks[0] - at], &shapes[1][ranks[1] - at])) {
        return None;
    }
    if ranks[0] == ranks[1] {
        let at = (0..axis).find(|at| !same(&shapes[0][*at], &shapes[1][*at])).unwrap_or(axis);
        let mask = if at == axis || shapes[0][at] != one { 1 } else { 0 };
        if shapes[mask][at..axis].iter().all(|dim| *dim == one) {
            return Some((args[1 - mask], args[mask], axis, true));
        }
    }
    let (mut left, mut right) = ((ranks[0] - batch) as i64 - 1, (ranks[1] - batch) as i64 - 1);
    while left >= 0 && right >= 0 && same(&shapes[0][left as usize], &shapes[1][right as usize]) {
        left -= 1;
        right -= 1;
    }
    let left_is_input = left > right || (left == right && (left < 0 || shapes[0][left as usize] != one));
    let (mask, last) = if left_is_input { (1, right) } else { (0, left) };
    let fits = (0..=last).all(|at| shapes[mask][at as usize] == one);
    fits.then(|| (args[1 - mask], args[mask], axis, false))
}
