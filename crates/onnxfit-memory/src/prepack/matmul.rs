//! The packed right-hand side of a matrix product.
//!
//! `mlas/lib/sgemm.cpp:MlasGemmPackBSize` and `math/matmul.cc`, `math/gemm.cc` (ORT 1.31, x64):
//! columns padded to 16, the whole aligned to 64 bytes.

use onnxfit_onnx::DataType;

use super::{Asked, Buffer};

/// `MatMul`: a constant two-dimensional B.
pub(super) fn matmul(asked: &Asked<'_>) -> Vec<Buffer> {
    packed_b(asked)
}

/// `Gemm`: the same, possibly transposed.
pub(super) fn gemm(asked: &Asked<'_>) -> Vec<Buffer> {
    packed_b(asked)
}

fn packed_b(asked: &Asked<'_>) -> Vec<Buffer> {
    let transposed = asked.node.int("transB", 0) != 0;
    let (1, DataType::Float, &[rows, columns]) = (asked.position, asked.size.element, asked.size.dims.as_slice())
    else {
        return Vec::new();
    };
    let (k, n) = if transposed { (columns, rows) } else { (rows, columns) };
    packed_b_bytes(k, n).map(Buffer::reserved).into_iter().collect()
}

/// Bytes of a packed K×N matrix of floats; `None` when nothing is packed.
pub(super) fn packed_b_bytes(k: u64, n: u64) -> Option<u64> {
    if k == 0 || n == 0 {
        return None;
    }
    n.checked_next_multiple_of(16)?.checked_mul(k)?.checked_mul(4)?.checked_next_multiple_of(64)
}
