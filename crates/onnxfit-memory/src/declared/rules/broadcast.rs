//! Numpy-style broadcasting and matrix products.

use onnxfit_onnx::DataType;

use super::{Entry, one};
use crate::declared::query::{Inferred, Query};
use crate::declared::{Shape, einsum_dims};
use crate::program::DeclaredDim;

pub(super) const RULES: &[Entry] = &[
    (
        "",
        &[
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Pow",
            "Mod",
            "BitShift",
            "BitwiseAnd",
            "BitwiseOr",
            "BitwiseXor",
            "Max",
            "Min",
            "Mean",
            "Sum",
        ],
        arithmetic,
    ),
    ("", &["And", "Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"], comparison),
    ("", &["Where"], choose),
    ("", &["MatMul"], matmul),
    ("", &["Gemm"], gemm),
    ("", &["Einsum"], einsum),
];

fn arithmetic(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), of_all_inputs(query)))
}

fn comparison(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Bool), of_all_inputs(query)))
}

fn choose(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(1), of_all_inputs(query)))
}

fn of_all_inputs(query: &Query<'_>) -> Option<Shape> {
    let shapes: Option<Vec<&[DeclaredDim]>> = (0..query.node.inputs.len()).map(|at| query.shape(at)).collect();
    broadcast(&shapes?)
}

/// `multidirectionalBroadcastShapeInference`: a number above one wins, a lone name survives.
pub(crate) fn broadcast(shapes: &[&[DeclaredDim]]) -> Option<Shape> {
    let rank = shapes.iter().map(|shape| shape.len()).max()?;
    (0..rank)
        .map(|at| {
            let mut number = 1;
            let mut name: Option<&DeclaredDim> = None;
            let mut names_agree = true;
            for shape in shapes {
                let Some(dim) = (at + shape.len()).checked_sub(rank).map(|at| &shape[at]) else { continue };
                match dim {
                    DeclaredDim::Value(1) => {}
                    DeclaredDim::Value(value) if number == 1 || number == *value => number = *value,
                    DeclaredDim::Value(_) => return None,
                    _ => match name {
                        None => name = Some(dim),
                        Some(other) => names_agree &= other == dim,
                    },
                }
            }
            Some(match name {
                Some(dim) if number == 1 && names_agree => dim.clone(),
                Some(_) if number == 1 => DeclaredDim::Unknown,
                _ => DeclaredDim::Value(number),
            })
        })
        .collect()
}

pub(super) fn matmul(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(1)).and_then(|(left, right)| product(left, right));
    one(Inferred::new(query.element(0), shape))
}

/// The shape of a product of stacks of matrices.
pub(super) fn product(left: &[DeclaredDim], right: &[DeclaredDim]) -> Option<Shape> {
    if left.is_empty() || right.is_empty() {
        return None;
    }
    let stack = |dims: &'_ [DeclaredDim]| dims[..dims.len().saturating_sub(2)].to_vec();
    let mut shape = broadcast(&[&stack(left), &stack(right)])?;
    if left.len() > 1 {
        shape.push(left[left.len() - 2].clone());
    }
    if right.len() > 1 {
        shape.push(right[right.len() - 1].clone());
    }
    Some(shape)
}

pub(super) fn gemm(query: &Query<'_>) -> Vec<Inferred> {
    let pick = |position: usize, transposed: bool, side: usize| {
        let dims = query.shape(position).filter(|dims| dims.len() == 2)?;
        Some(dims[if transposed { 1 - side } else { side }].clone())
    };
    let rows = pick(0, query.node.int("transA", 0) != 0, 0);
    let columns = pick(1, query.node.int("transB", 0) != 0, 1);
    let shape = rows.zip(columns).map(|(rows, columns)| vec![rows, columns]);
    one(Inferred::new(query.element(0), shape))
}

/// Only the rank of the result, and the letters that one input names.
fn einsum(query: &Query<'_>) -> Vec<Inferred> {
    let shapes: Option<Vec<&[DeclaredDim]>> = (0..query.node.inputs.len()).map(|at| query.shape(at)).collect();
    let number = |dim: &DeclaredDim| match dim {
        DeclaredDim::Value(value) => i64::try_from(*value).ok(),
        _ => None,
    };
    let shape = shapes.and_then(|shapes| einsum_dims(query.node.text("equation", ""), &shapes, number));
    one(Inferred::new(query.element(0), shape))
}
