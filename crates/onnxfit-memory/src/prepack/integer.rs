//! The packed right-hand side of an 8-bit matrix product.
//!
//! `mlas/lib/qgemm.cpp:MlasGemmPackBSize`, `quantization/matmul_integer_base.h` (ORT 1.31, x64):
//! column sums, then bytes with columns padded to 16 and rows to 4.

use onnxfit_onnx::DataType;

use crate::program::Node;
use crate::sizes::TensorSize;

pub(super) fn matmul_integer(_: &Node, position: usize, size: &TensorSize) -> Vec<u64> {
    let (1, DataType::Int8 | DataType::Uint8, &[k, n]) = (position, size.element, size.dims.as_slice()) else {
        return Vec::new();
    };
    packed_bytes(k, n).into_iter().collect()
}

fn packed_bytes(k: u64, n: u64) -> Option<u64> {
    let n = n.checked_next_multiple_of(16)?;
    let k = k.checked_next_multiple_of(4)?;
    n.checked_mul(4)?.checked_add(n.checked_mul(k)?)?.checked_next_multiple_of(64)
}
