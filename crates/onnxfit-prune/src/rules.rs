//! How each operator couples axes: one file per family, one line in this table of tables.

mod concat;
mod convolution;
mod einsum;
mod elementwise;
mod gather;
mod layout;
mod matmul;
mod normalization;
mod pooling;
mod quantization;
mod recurrent;
mod reduction;
mod reshape;
mod slice;

use crate::registry::Entry;

/// The tables of all families.
pub(crate) const TABLES: &[&[Entry]] = &[
    concat::TABLE,
    convolution::TABLE,
    einsum::TABLE,
    elementwise::TABLE,
    gather::TABLE,
    layout::TABLE,
    matmul::TABLE,
    normalization::TABLE,
    pooling::TABLE,
    quantization::TABLE,
    recurrent::TABLE,
    reduction::TABLE,
    reshape::TABLE,
    slice::TABLE,
];
