//! The gradient rules, one file per family of operators.
//!
//! A family is a file with a `TABLE`; adding one is that file and one line here.

mod activation;
mod batch_norm;
mod binary;
mod combine;
mod convolution;
mod gather;
mod loss;
mod matmul;
mod normalization;
mod pooling;
mod recurrent;
mod reduction;
mod reshape;
mod resize;
mod scan_body;
mod scatter;
mod select;
mod slice;
mod softmax;
mod unary;

use crate::forward::Hook;
use crate::registry::Entry;

/// Every family's table.
pub(crate) const TABLES: &[&[Entry]] = &[
    activation::TABLE,
    batch_norm::TABLE,
    binary::TABLE,
    combine::TABLE,
    convolution::TABLE,
    gather::TABLE,
    loss::TABLE,
    matmul::TABLE,
    normalization::TABLE,
    pooling::TABLE,
    recurrent::TABLE,
    reduction::TABLE,
    reshape::TABLE,
    resize::TABLE,
    scatter::TABLE,
    select::TABLE,
    slice::TABLE,
    softmax::TABLE,
    unary::TABLE,
];

/// Operators that compute something else while training.
pub(crate) const HOOKS: &[(&str, Hook)] = &[
    ("BatchNormalization", batch_norm::forward),
    ("NegativeLogLikelihoodLoss", loss::forward),
    ("SoftmaxCrossEntropyLoss", loss::forward),
];

/// Operators whose outputs are constant around almost every input: nothing flows back through them.
pub(crate) const STOPS: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "Equal",
    "EyeLike",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "RandomNormalLike",
    "RandomUniformLike",
    "Range",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
];
