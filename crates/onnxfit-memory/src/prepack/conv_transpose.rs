//! The transposed filters of a transposed convolution.
//!
//! `nn/conv_transpose.cc:PrePack` (ORT 1.31) takes them from the arena, not as a reserved block.

use onnxfit_onnx::DataType;

use super::{Asked, Buffer};

pub(super) fn cpu(asked: &Asked<'_>) -> Vec<Buffer> {
    let &Asked { node, position, size, .. } = asked;
    let groups = u64::try_from(node.int("group", 1)).unwrap_or(1).max(1);
    if position != 1 || size.element != DataType::Float || size.dims.len() <= 2 {
        return Vec::new();
    }
    let k = size.dims[0] / groups;
    let n = size.dims[1..].iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim)).unwrap_or(0);
    if k <= 1 || n <= 1 {
        return Vec::new();
    }
    size.bytes().map(|bytes| Buffer::taken(bytes.0)).into_iter().collect()
}
