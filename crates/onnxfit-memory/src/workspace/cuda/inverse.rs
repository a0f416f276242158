//! Matrix inversion: pivots, and a copy that cuBLAS may overwrite.
//!
//! `contrib_ops/cuda/inverse.cc` (ORT 1.30-dev).

use onnxfit_onnx::DataType;

use super::{Call, Piece, after_outputs, product};

pub(super) fn inverse(call: &Call<'_>) -> Option<Vec<Piece>> {
    let input = call.input(0)?;
    let (rows, n_elements) = (*input.dims.last()?, input.n_elements()?);
    let n_batches = product(&input.dims[..input.dims.len().checked_sub(2)?])?;
    let is_half = input.element == DataType::Float16;
    let computed_bytes = if input.element == DataType::Double { 8 } else { 4 };
    let copy = n_elements.checked_mul(computed_bytes)?;
    let pointers = n_batches.checked_mul(8)?;
    let mut scratch = vec![
        Piece::exact("status", n_batches.checked_mul(4)?),
        Piece::exact("pivots", product(&[rows, n_batches, 4])?),
        Piece::exact("copy", copy),
        Piece::exact("input pointers", pointers),
        Piece::exact("output pointers", pointers),
    ];
    if is_half {
        scratch.push(Piece::exact("output as float", copy));
    }
    Some(after_outputs(call.node, scratch))
}
