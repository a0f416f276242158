//! Softmax over an axis that is not the last: both sides are transposed first.
//!
//! `math/softmax.cc`, `math/hardmax.cc` (ORT 1.31); since opset 13.

use super::{Call, Step};

pub(super) fn cpu(call: &Call<'_>) -> Option<Vec<Step>> {
    let input = call.input(0)?;
    let rank = input.dims.len() as i64;
    let axis = call.node.int("axis", -1);
    let last = axis == -1 || axis == rank - 1;
    let mut steps = vec![Step::Output(0)];
    if call.node.opset >= 13 && !last && input.n_elements()? > 0 {
        let bytes = input.bytes()?;
        steps.push(Step::Scratch { what: "transposed input", bytes });
        steps.push(Step::Scratch { what: "transposed output", bytes });
    }
    Some(steps)
}
