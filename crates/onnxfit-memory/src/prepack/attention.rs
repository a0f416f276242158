//! The packed weights of `Attention`: queries, keys and values apart, head by head.
//!
//! `contrib_ops/cpu/bert/attention.cc:PrePack` (ORT 1.31).

use onnxfit_onnx::DataType;

use super::matmul::packed_b_bytes;
use super::{Asked, Buffer};

/// Three blocks, one after the other; none where a width does not divide among the heads.
pub(super) fn joined(asked: &Asked<'_>) -> Vec<Buffer> {
    let (1, DataType::Float, &[rows, columns]) = (asked.position, asked.size.element, asked.size.dims.as_slice())
    else {
        return Vec::new();
    };
    let heads = u64::try_from(asked.node.int("num_heads", 0)).unwrap_or(0).max(1);
    let widths: Vec<u64> = match asked.node.ints("qkv_hidden_sizes") {
        [] => vec![columns / 3; 3],
        sizes => sizes.iter().filter_map(|size| u64::try_from(*size).ok()).collect(),
    };
    let block = |width: &u64| {
        let packed = packed_b_bytes(rows, width / heads).filter(|_| width.is_multiple_of(heads))?;
        packed.checked_mul(heads).map(Buffer::reserved)
    };
    let blocks: Option<Vec<Buffer>> = widths.iter().map(block).collect();
    blocks.filter(|blocks| blocks.len() == 3).unwrap_or_default()
}
