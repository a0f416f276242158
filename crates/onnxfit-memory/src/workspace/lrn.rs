//! Local response normalisation: the scale of every element, and one padded image of squares.
//!
//! `nn/lrn.cc` (ORT 1.31).

use onnxfit_base::Bytes;

use super::{Call, Step};

pub(super) fn cpu(call: &Call<'_>) -> Option<Vec<Step>> {
    let input = call.input(0)?;
    let &[_, channels, height, width] = input.dims.as_slice() else { return None };
    let size = u64::try_from(call.node.int("size", 1)).ok()?;
    let squares = (channels + size).checked_sub(1)?.checked_mul(height)?.checked_mul(width)?.checked_mul(4)?;
    Some(vec![
        Step::Output(0),
        Step::Scratch { what: "scales", bytes: Bytes(input.n_elements()?.checked_mul(4)?) },
        Step::Scratch { what: "padded squares", bytes: Bytes(squares) },
    ])
}
