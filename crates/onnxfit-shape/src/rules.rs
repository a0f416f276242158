//! The rules, one file per family of operators.
//!
//! A family is a file with a `TABLE`; adding one is that file and one line here.

mod attention;
mod classical;
mod concat;
mod control_flow;
mod convolution;
mod elementwise;
mod gather;
mod generate;
mod loss;
mod matmul;
mod microsoft;
mod normalization;
mod optional;
mod pooling;
mod quantization;
mod recurrent;
mod reduction;
mod reshape;
mod resize;
mod scatter;
mod selection;
mod sequence;
mod shape_of;
mod signal;
mod slice;
mod text;
mod vision;

use crate::registry::Entry;

/// The domain of ONNX Runtime's own operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";

/// Every family's table.
pub(crate) const TABLES: &[&[Entry]] = &[
    attention::TABLE,
    classical::TABLE,
    concat::TABLE,
    control_flow::TABLE,
    convolution::TABLE,
    elementwise::TABLE,
    gather::TABLE,
    generate::TABLE,
    loss::TABLE,
    matmul::TABLE,
    microsoft::TABLE,
    normalization::TABLE,
    optional::TABLE,
    pooling::TABLE,
    quantization::TABLE,
    recurrent::TABLE,
    reduction::TABLE,
    reshape::TABLE,
    resize::TABLE,
    scatter::TABLE,
    selection::TABLE,
    sequence::TABLE,
    shape_of::TABLE,
    signal::TABLE,
    slice::TABLE,
    text::TABLE,
    vision::TABLE,
];
