//! The rules, one file per family of operators.
//!
//! A family is a file with a `TABLE`; adding one is that file and one line here.

mod concat;
mod control_flow;
mod convolution;
mod elementwise;
mod gather;
mod generate;
mod matmul;
mod normalization;
mod pooling;
mod quantization;
mod recurrent;
mod reduction;
mod reshape;
mod resize;
mod scatter;
mod selection;
mod shape_of;
mod slice;

use crate::registry::Entry;

/// The domain of ONNX Runtime's own operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";

/// Every family's table.
pub(crate) const TABLES: &[&[Entry]] = &[
    concat::TABLE,
    control_flow::TABLE,
    convolution::TABLE,
    elementwise::TABLE,
    gather::TABLE,
    generate::TABLE,
    matmul::TABLE,
    normalization::TABLE,
    pooling::TABLE,
    quantization::TABLE,
    recurrent::TABLE,
    reduction::TABLE,
    reshape::TABLE,
    resize::TABLE,
    scatter::TABLE,
    selection::TABLE,
    shape_of::TABLE,
    slice::TABLE,
];

/// Rules that replace those above where ONNX Runtime itself knows less.
pub(crate) const WEAKER_TABLES: &[&[Entry]] = &[];
