//! Pools of bytes are computed in floats.
//!
//! `nn/pool.cc` (ORT 1.30-dev): `int8` and `uint8` are cast there and back; other types go to cuDNN as
//! they are.

use onnxfit_onnx::DataType;

use super::{Call, Piece, after_outputs};

pub(super) fn cast(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let is_cast = matches!(input.element, DataType::Int8 | DataType::Uint8);
    let mut scratch = Vec::new();
    // The kernel with indices computes in its own type.
    if is_cast && call.node.output(1).is_none() {
        scratch.push(Piece::exact("input as float", input.n_elements()?.checked_mul(4)?));
        scratch.push(Piece::exact("output as float", output.n_elements()?.checked_mul(4)?));
    }
    Some(after_outputs(call.node, scratch))
}
