//! Interpolation: tables of positions and weights.
//!
//! `tensor/upsample.cc` (ORT 1.31). Anti-aliased modes allocate through other tables and count as
//! their temporary image only.

use super::{Call, Step, outputs_then};

pub(super) fn cpu(call: &Call<'_>) -> Option<Vec<Step>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let is_linear = matches!(call.node.text("mode", "nearest"), "linear" | "bilinear" | "trilinear");
    if !is_linear || input.dims == output.dims || output.n_elements()? == 0 {
        return Some(outputs_then(call.node, "interpolation table", 0));
    }
    let out = &output.dims;
    let bytes = match out.len() {
        2 => 16 * (out[0] + out[1]),
        4 if input.dims[1] == out[1] => 16 * (out[2] + out[3]),
        4 => 16 * (out[1] + out[2]),
        3 => 24 * (out[0] + out[1] + out[2]),
        5 => 24 * (out[2] + out[3] + out[4]),
        _ => 0,
    };
    Some(outputs_then(call.node, "interpolation table", bytes))
}
