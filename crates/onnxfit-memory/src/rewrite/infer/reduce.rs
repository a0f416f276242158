//! Reductions and searches along axes.

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::{Context, Inferred, Rule, axis_from_front, one};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ReduceL1", reduce),
    ("ReduceL2", reduce),
    ("ReduceLogSum", reduce),
    ("ReduceLogSumExp", reduce),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceMin", reduce),
    ("ReduceProd", reduce),
    ("ReduceSum", reduce),
    ("ReduceSumSquare", reduce),
    ("ArgMax", arg),
    ("ArgMin", arg),
    ("TopK", top_k),
    ("NonZero", non_zero),
    ("NonMaxSuppression", non_max_suppression),
];

pub(super) fn reduce(context: &Context<'_>) -> Vec<Inferred> {
    let keep = context.op.int("keepdims").unwrap_or(1) != 0;
    let shape = (|| {
        let shape = context.shape(0)?;
        let by_input = context.op.input(1).is_some();
        let axes = match context.values_of("axes", 1) {
            Some(axes) => axes,
            // Axes that are only known at run time: the rank stays when dimensions are kept.
            None if by_input => return keep.then(|| vec![Dim::Unknown; shape.len()]),
            None => Vec::new(),
        };
        if axes.is_empty() && context.op.int("noop_with_empty_axes").unwrap_or(0) != 0 {
            return Some(shape.to_vec());
        }
        let axes: Option<Vec<usize>> = axes.iter().map(|axis| axis_from_front(*axis, shape.len())).collect();
        let axes = axes?;
        let is_reduced = |index: usize| axes.is_empty() || axes.contains(&index);
        let dims = shape.iter().enumerate().filter(|(index, _)| keep || !is_reduced(*index));
        Some(dims.map(|(index, dim)| if is_reduced(index) { Dim::Known(1) } else { dim.clone() }).collect())
    })();
    one(context.elem(0), shape)
}

fn arg(context: &Context<'_>) -> Vec<Inferred> {
    let keep = context.op.int("keepdims").unwrap_or(1) != 0;
    let shape = (|| {
        let mut shape = context.shape(0)?.to_vec();
        let axis = context.axis(0, shape.len())?;
        if keep {
            shape[axis] = Dim::Known(1);
        } else {
            shape.remove(axis);
        }
        Some(shape)
    })();
    one(Some(DataType::Int64), shape)
}

fn top_k(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let mut shape = context.shape(0)?.to_vec();
        let axis = context.axis(-1, shape.len())?;
        let k = context.op.int("k").or_else(|| context.values(1)?.first().copied());
        match k {
            Some(k) => shape[axis] = Dim::Known(k),
            None => shape = vec![Dim::Unknown; shape.len()],
        }
        Some(shape)
    })();
    vec![Inferred { elem: context.elem(0), shape: shape.clone() }, Inferred { elem: Some(DataType::Int64), shape }]
}

fn non_zero(context: &Context<'_>) -> Vec<Inferred> {
    let rank = context.rank(0).map_or(Dim::Unknown, |rank| Dim::Known(rank as i64));
    one(Some(DataType::Int64), Some(vec![rank, Dim::Unknown]))
}

fn non_max_suppression(_: &Context<'_>) -> Vec<Inferred> {
    one(Some(DataType::Int64), Some(vec![Dim::Unknown, Dim::Known(3)]))
}
