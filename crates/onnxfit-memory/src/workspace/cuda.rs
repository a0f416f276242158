//! What CUDA kernels allocate besides their outputs, one file an operator family.
//!
//! Read from the kernels' sources (`core/providers/cuda`, `contrib_ops/cuda`, ORT 1.30-dev). What a
//! library decides at run time (a cuDNN plan, a sort's temporary storage) is a band; everything
//! else is exact. An operator that is in neither list is not modelled, and said to be.

mod attention;
mod control;
mod conv;
mod deform_conv;
mod flash;
pub(crate) mod gpu;
mod group_query;
mod inverse;
mod linear;
mod normalization;
mod onnx_attention;
pub(crate) mod persistent;
mod plain;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod select;
mod sort;
mod split;

use std::sync::LazyLock;

use onnxfit_base::{Bytes, Operators};

use super::{Call, Step};
use crate::overhead::{Band, Bound};
use crate::program::Node;

/// One allocation step of a CUDA kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The output at this position is asked for.
    Output(usize),
    /// Scratch is taken until the kernel ends.
    Scratch {
        /// What it is.
        what: &'static str,
        /// How much.
        band: Band,
    },
    /// The scratch taken as this number (from zero) is given back early.
    Give(usize),
}

impl Piece {
    /// Scratch of a known size.
    fn exact(what: &'static str, bytes: u64) -> Self {
        Self::Scratch { what, band: Band::exact(Bytes(bytes)) }
    }

    /// Scratch of a size that a library decides.
    fn between(what: &'static str, low: u64, expected: u64, high: u64) -> Self {
        let expected = expected.max(low);
        Self::Scratch {
            what,
            band: Band { low: Bytes(low), expected: Bytes(expected), high: Bytes(high.max(expected)) },
        }
    }

    fn is_banded(&self) -> bool {
        matches!(self, Self::Scratch { band, .. } if band.low != band.high)
    }

    fn step(&self, bound: Bound) -> Step {
        match *self {
            Self::Output(position) => Step::Output(position),
            Self::Scratch { what, band } => Step::Scratch { what, bytes: band.at(bound) },
            Self::Give(number) => Step::Give(number),
        }
    }
}

/// A rule; `None` when the shapes it needs are unknown.
pub(crate) type Rule = fn(&Call<'_>) -> Option<Vec<Piece>>;

/// Domain, operator, rule.
const RULES: &[(&str, &str, Rule)] = &[
    ("", "Conv", conv::nchw),
    ("", "ConvTranspose", conv::nchw),
    ("com.microsoft", "ConvTransposeWithDynamicPads", conv::nchw),
    ("com.microsoft", "FusedConv", conv::searched),
    ("com.microsoft", "NhwcConv", conv::nhwc),
    ("", "DeformConv", deform_conv::columns),
    ("", "BatchNormalization", normalization::batch),
    ("", "InstanceNormalization", normalization::instance),
    ("com.microsoft", "GroupNorm", normalization::group),
    ("com.microsoft", "SkipGroupNorm", normalization::group),
    ("", "MaxPool", pool::cast),
    ("", "AveragePool", pool::cast),
    ("", "GlobalMaxPool", pool::cast),
    ("", "GlobalAveragePool", pool::cast),
    ("", "ReduceSum", reduce::sum),
    ("", "ReduceMean", reduce::mean),
    ("", "ReduceLogSum", reduce::log_sum),
    ("", "ReduceSumSquare", reduce::sum_square),
    ("", "ReduceLogSumExp", reduce::log_sum_exp),
    ("", "ReduceMax", reduce::general),
    ("", "ReduceMin", reduce::general),
    ("", "ReduceProd", reduce::general),
    ("", "ReduceL1", reduce::general),
    ("", "ReduceL2", reduce::general),
    ("", "ArgMax", reduce::arg),
    ("", "ArgMin", reduce::arg),
    ("", "TopK", sort::top_k),
    ("", "NonMaxSuppression", sort::non_max_suppression),
    ("", "NonZero", select::non_zero),
    ("", "Compress", select::compress),
    ("", "GatherND", select::gather_nd),
    ("", "ScatterND", select::scatter_nd),
    ("", "Resize", resize::resize),
    ("", "LSTM", recurrent::lstm),
    ("", "GRU", recurrent::gru),
    ("", "RNN", recurrent::rnn),
    ("", "MatMul", linear::matmul),
    ("com.microsoft", "FusedMatMul", linear::fused_matmul),
    ("com.microsoft", "TransposeMatMul", linear::fused_matmul),
    ("", "MatMulInteger", linear::integer),
    ("com.microsoft", "MatMulNBits", linear::n_bits),
    ("com.microsoft", "MatMulBnb4", linear::bnb4),
    ("com.microsoft", "Inverse", inverse::inverse),
    ("", "Concat", split::concat),
    ("", "Split", split::split),
    ("com.microsoft", "MultiHeadAttention", attention::multi_head),
    ("com.microsoft", "Attention", attention::projected),
    ("com.microsoft", "GroupQueryAttention", group_query::group_query),
    ("", "Attention", onnx_attention::standard),
    ("", "Loop", control::body_decides),
    ("", "If", control::body_decides),
    ("", "Scan", control::body_decides),
];

/// The rule of a node's operator.
pub(super) fn rule_of(node: &Node) -> Option<Rule> {
    static TABLE: LazyLock<Operators<Rule>> = LazyLock::new(|| Operators::of(RULES.iter().copied()));
    TABLE.get(&node.domain, &node.op_type).copied()
}

/// The steps of one kernel call, and whether any of its scratch is a band.
pub(super) fn steps(rule: Rule, call: &Call<'_>) -> Option<(Vec<Step>, bool)> {
    let pieces = rule(call)?;
    Some((pieces.iter().map(|piece| piece.step(call.bound)).collect(), pieces.iter().any(Piece::is_banded)))
}

/// Whether a node's kernel is known to take no scratch.
pub(super) fn needs_no_scratch(node: &Node) -> bool {
    plain::needs_no_scratch(node)
}

/// Outputs in order, then scratch: what most kernels do.
fn after_outputs(node: &Node, scratch: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
    let outputs = (0..node.outputs.len()).filter(|&position| node.output(position).is_some()).map(Piece::Output);
    outputs.chain(scratch).collect()
}

/// The product of sizes; `None` past `u64::MAX`.
fn product(factors: &[u64]) -> Option<u64> {
    factors.iter().try_fold(1_u64, |product, &factor| product.checked_mul(factor))
}

/// The sum of sizes; `None` past `u64::MAX`.
fn sum(terms: &[u64]) -> Option<u64> {
    terms.iter().try_fold(0_u64, |sum, &term| sum.checked_add(term))
}

/// Rounded up to the 256 bytes that the arena and the attention kernels align to.
fn aligned(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(256)
}

/// An axis counted from the front.
fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    usize::try_from(if axis < 0 { axis + rank } else { axis }).ok().filter(|&axis| (axis as i64) < rank)
}

/// Temporary storage of a prefix sum over `n_items` four-byte numbers (`cub::DeviceScan`).
///
/// One eight-byte descriptor a tile and a warp of them ahead, aligned to 256; tiles have 512 to
/// 3 840 numbers, by architecture. Low: a single aligned block.
fn scan_storage(n_items: u64) -> Piece {
    let storage = |tile: u64| (n_items.div_ceil(tile) + 32) * 8 + 255;
    Piece::between("prefix sum", 1, storage(1920), storage(512).saturating_mul(2))
}

#[cfg(test)]
mod tests;
