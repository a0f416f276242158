//! The packed right-hand side of an 8-bit matrix product.
//!
//! `mlas/lib/qgemm.cpp:MlasGemmPackBSize`, `quantization/matmul_integer_base.h` (ORT 1.31, x64):
//! column sums, then bytes with columns padded to 16 and rows to 4.

use onnxfit_onnx::DataType;

use super::{Asked, Buffer};

/// `MatMulInteger` and its fusions: B is the second input.
pub(super) fn matmul_integer(asked: &Asked<'_>) -> Vec<Buffer> {
    packed_b(asked, 1, false)
}

/// `QLinearMatMul`: B is the fourth input.
pub(super) fn q_linear_matmul(asked: &Asked<'_>) -> Vec<Buffer> {
    packed_b(asked, 3, false)
}

/// `QGemm`: the same, possibly transposed first.
pub(super) fn q_gemm(asked: &Asked<'_>) -> Vec<Buffer> {
    packed_b(asked, 3, asked.node.int("transB", 0) != 0)
}

/// `DynamicQuantizeLSTM`: weights are stored transposed, directions side by side.
pub(super) fn lstm(asked: &Asked<'_>) -> Vec<Buffer> {
    let (1 | 2, true, &[directions, k, n]) = (asked.position, is_byte(asked), asked.size.dims.as_slice()) else {
        return Vec::new();
    };
    let bytes = packed_bytes(k, n).and_then(|bytes| bytes.checked_mul(directions));
    bytes.map(Buffer::reserved).into_iter().collect()
}

fn packed_b(asked: &Asked<'_>, position: usize, transposed: bool) -> Vec<Buffer> {
    let (true, &[rows, columns]) = (is_byte(asked), asked.size.dims.as_slice()) else {
        return Vec::new();
    };
    if asked.position != position {
        return Vec::new();
    }
    let (k, n) = if transposed { (columns, rows) } else { (rows, columns) };
    // The transposed matrix is an ordinary tensor, not a reserved block.
    let copy = rows.checked_mul(columns).filter(|_| transposed);
    let copy = copy.map(|bytes| Buffer { reserved: false, ..Buffer::temporary(bytes) });
    copy.into_iter().chain(packed_bytes(k, n).map(Buffer::reserved)).collect()
}

fn is_byte(asked: &Asked<'_>) -> bool {
    matches!(asked.size.element, DataType::Int8 | DataType::Uint8)
}

pub(super) fn packed_bytes(k: u64, n: u64) -> Option<u64> {
    let n = n.checked_next_multiple_of(16)?;
    let k = k.checked_next_multiple_of(4)?;
    n.checked_mul(4)?.checked_add(n.checked_mul(k)?)?.checked_next_multiple_of(64)
}
