//! The packed right-hand side of a matrix product.
//!
//! `mlas/lib/sgemm.cpp:MlasGemmPackBSize` and `math/matmul.cc`, `math/gemm.cc` (ORT 1.31, x64):
//! columns padded to 16, the whole aligned to 64 bytes.

use onnxfit_onnx::DataType;

use crate::program::Node;
use crate::sizes::TensorSize;

/// `MatMul`: a constant two-dimensional B.
pub(super) fn matmul(node: &Node, position: usize, size: &TensorSize) -> Vec<u64> {
    packed_b(position, size, node.int("transB", 0) != 0)
}

/// `Gemm`: the same, possibly transposed.
pub(super) fn gemm(node: &Node, position: usize, size: &TensorSize) -> Vec<u64> {
    packed_b(position, size, node.int("transB", 0) != 0)
}

fn packed_b(position: usize, size: &TensorSize, transposed: bool) -> Vec<u64> {
    let (1, DataType::Float, &[rows, columns]) = (position, size.element, size.dims.as_slice()) else {
        return Vec::new();
    };
    let (k, n) = if transposed { (columns, rows) } else { (rows, columns) };
    packed_b_bytes(k, n).into_iter().collect()
}

/// Bytes of a packed K×N matrix of floats; `None` when nothing is packed.
pub(super) fn packed_b_bytes(k: u64, n: u64) -> Option<u64> {
    if k == 0 || n == 0 {
        return None;
    }
    n.checked_next_multiple_of(16)?.checked_mul(k)?.checked_mul(4)?.checked_next_multiple_of(64)
}
