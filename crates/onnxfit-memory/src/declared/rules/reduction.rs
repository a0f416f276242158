//! Reductions over axes.

use onnxfit_graph::families::REDUCTIONS;
use onnxfit_onnx::DataType;

use super::{Entry, one};
use crate::declared::Shape;
use crate::declared::query::{Inferred, Query, normalise};
use crate::program::{DeclaredDim, Node};

pub(super) const RULES: &[Entry] = &[("", REDUCTIONS, reduce), ("", &["ArgMax", "ArgMin"], arg)];

fn reduce(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), reduced(query)))
}

fn reduced(query: &Query<'_>) -> Option<Shape> {
    let input = query.shape(0)?;
    let axes = query.axes(1).ok()?.unwrap_or_default();
    if axes.is_empty() && query.node.int("noop_with_empty_axes", 0) != 0 {
        return Some(input.to_vec());
    }
    without(input, &axes, query.node)
}

/// The shape without these axes, all where none are named; `keepdims` keeps ones in their place.
pub(super) fn without(input: &[DeclaredDim], axes: &[i64], node: &Node) -> Option<Shape> {
    let keeps = node.int("keepdims", 1) == 1;
    let axes: Vec<usize> = axes.iter().map(|&axis| normalise(axis, input.len())).collect::<Option<_>>()?;
    let shape = input.iter().enumerate().filter_map(|(at, dim)| {
        let gone = axes.is_empty() || axes.contains(&at);
        match (gone, keeps) {
            (false, _) => Some(dim.clone()),
            (true, true) => Some(DeclaredDim::Value(1)),
            (true, false) => None,
        }
    });
    Some(shape.collect())
}

fn arg(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape_of(0).and_then(|mut shape| {
        let axis = query.axis(0, shape.len())?;
        if query.node.int("keepdims", 1) == 1 {
            shape[axis] = DeclaredDim::Value(1);
        } else {
            shape.remove(axis);
        }
        Some(shape)
    });
    one(Inferred::new(Some(DataType::Int64), shape))
}
