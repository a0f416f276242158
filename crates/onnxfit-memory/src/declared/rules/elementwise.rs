//! Outputs shaped like the first input.

use onnxfit_onnx::DataType;

use super::{Entry, one};
use crate::declared::query::{Inferred, Query, normalise};
use crate::program::DeclaredDim;

pub(super) const RULES: &[Entry] = &[
    (
        "",
        &[
            "Abs",
            "Acos",
            "Acosh",
            "Asin",
            "Asinh",
            "Atan",
            "Atanh",
            "BitwiseNot",
            "Ceil",
            "Celu",
            "Clip",
            "Cos",
            "Cosh",
            "CumSum",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "Hardmax",
            "Identity",
            "InstanceNormalization",
            "GroupNormalization",
            "LRN",
            "LeakyRelu",
            "Log",
            "LogSoftmax",
            "LpNormalization",
            "MeanVarianceNormalization",
            "Mish",
            "Neg",
            "Not",
            "PRelu",
            "Reciprocal",
            "Relu",
            "ReverseSequence",
            "RMSNormalization",
            "Round",
            "Scatter",
            "ScatterElements",
            "ScatterND",
            "Selu",
            "Shrink",
            "Sigmoid",
            "Sign",
            "Sin",
            "Sinh",
            "Softmax",
            "Softplus",
            "Softsign",
            "Sqrt",
            "Swish",
            "Tan",
            "Tanh",
            "TensorScatter",
            "ThresholdedRelu",
            "Trilu",
            "BatchNormalization",
            "ParametricSoftplus",
            "ScaledTanh",
            "Affine",
        ],
        same,
    ),
    ("", &["LayerNormalization", "SimplifiedLayerNormalization"], layer_normalization),
    ("", &["Cast", "BitCast"], cast),
    ("", &["CastLike"], cast_like),
    ("", &["IsNaN", "IsInf"], to_bool),
    ("", &["Dropout"], dropout),
];

/// Type and shape of the first input.
pub(super) fn same(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), query.shape_of(0)))
}

fn to_bool(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Bool), query.shape_of(0)))
}

fn cast(query: &Query<'_>) -> Vec<Inferred> {
    let to = i32::try_from(query.node.int("to", 0)).ok().and_then(DataType::from_number);
    one(Inferred::new(to, query.shape_of(0)))
}

fn cast_like(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(1), query.shape_of(0)))
}

fn dropout(query: &Query<'_>) -> Vec<Inferred> {
    let mask = if query.node.opset >= 10 { Some(DataType::Bool) } else { query.element(0) };
    vec![Inferred::new(query.element(0), query.shape_of(0)), Inferred::new(mask, query.shape_of(0))]
}

/// Mean and deviation keep the dimensions before the axis.
pub(super) fn layer_normalization(query: &Query<'_>) -> Vec<Inferred> {
    let statistics = query.shape_of(0).and_then(|mut shape| {
        let axis = normalise(query.node.int("axis", -1), shape.len())?;
        shape[axis..].fill(DeclaredDim::Value(1));
        Some(shape)
    });
    let statistics = Inferred::new(Some(DataType::Float), statistics);
    vec![Inferred::new(query.element(0), query.shape_of(0)), statistics.clone(), statistics]
}
