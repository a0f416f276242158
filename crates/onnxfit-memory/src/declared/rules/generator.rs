//! Operators that make tensors from little or nothing.

use onnxfit_onnx::DataType;

use super::{Entry, one};
use crate::declared::query::{Inferred, Query, number};
use crate::program::{Attribute, DeclaredDim};

pub(super) const RULES: &[Entry] = &[
    ("", &["ConstantOfShape"], constant_of_shape),
    ("", &["Range"], range),
    ("", &["RandomNormal", "RandomUniform"], random),
    ("", &["RandomNormalLike", "RandomUniformLike", "EyeLike", "Bernoulli"], like),
    ("", &["SequenceLength"], scalar),
];

fn constant_of_shape(query: &Query<'_>) -> Vec<Inferred> {
    let element = match query.node.attributes.get("value") {
        Some(Attribute::Tensor(element)) => *element,
        _ => Some(DataType::Float),
    };
    let shape =
        query.shape_input(0).map(|dims| dims.into_iter().map(|dim| dim.map_or(DeclaredDim::Unknown, number)).collect());
    one(Inferred::new(element, shape))
}

fn range(query: &Query<'_>) -> Vec<Inferred> {
    let one_of = |at: usize| query.integers(at).and_then(|values| values.first().copied());
    let length = match (one_of(0), one_of(1), one_of(2)) {
        (Some(start), Some(limit), Some(delta)) if delta != 0 => {
            number(((limit - start) as f64 / delta as f64).ceil().max(0.0) as i64)
        }
        _ => DeclaredDim::Unknown,
    };
    one(Inferred::new(query.element(0), Some(vec![length])))
}

fn random(query: &Query<'_>) -> Vec<Inferred> {
    let element = i32::try_from(query.node.int("dtype", 1)).ok().and_then(DataType::from_number);
    one(Inferred::new(element, Some(query.node.ints("shape").iter().copied().map(number).collect())))
}

fn like(query: &Query<'_>) -> Vec<Inferred> {
    let named = i32::try_from(query.node.int("dtype", 0)).ok().and_then(DataType::from_number);
    one(Inferred::new(named.or(query.element(0)), query.shape_of(0)))
}

fn scalar(_: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Int64), Some(Vec::new())))
}
