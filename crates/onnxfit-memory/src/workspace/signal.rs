//! Fourier transforms on the CPU: lengths that are no power of two go by way of longer ones that are.
//!
//! `core/providers/cpu/signal/dft.cc:dft_bluestein_z_chirp` (ORT 1.31): the chirp and a transform of it
//! are kept through the kernel, the signal and its transform belong to each call.

use onnxfit_base::Bytes;

use super::{Call, Step, outputs_in_order};

/// `DFT`: the length is given, or that of the signal along its axis.
pub(super) fn transform(call: &Call<'_>) -> Option<Vec<Step>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let rank = i64::try_from(input.dims.len()).ok()?;
    let axis = match call.node.opset {
        ..=19 => call.node.int("axis", 1),
        _ => call.integers(2).and_then(|axes| axes.first().copied()).unwrap_or(-2),
    };
    let mut axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    if call.node.opset > 19 && call.node.input(2).is_some() && call.integers(2).is_none() {
        // An axis that is fed is one along which the result has another length.
        let pairs = input.dims.iter().zip(&output.dims).take(input.dims.len().saturating_sub(1));
        axis = pairs.into_iter().position(|(before, after)| before != after).unwrap_or(axis);
    }
    let (length, made) = (*input.dims.get(axis)?, *output.dims.get(axis)?);
    let is_onesided = call.node.int("onesided", 0) != 0;
    let is_inverse = call.node.int("inverse", 0) != 0;
    let given = call.integers(1).and_then(|lengths| u64::try_from(*lengths.first()?).ok());
    let length = match given {
        Some(given) => given,
        // Only half of the result is made.
        None if is_onesided && !is_inverse && made == length / 2 + 1 => length,
        None if is_onesided && !is_inverse => made.saturating_sub(1) * 2,
        None => made,
    };
    script(call, length, output.element_bytes())
}

/// `STFT`: a transform for each frame, of the length of the window.
pub(super) fn short_time(call: &Call<'_>) -> Option<Vec<Step>> {
    let window = call.input(2).and_then(|window| window.dims.first().copied());
    let given = || call.integers(3).and_then(|lengths| u64::try_from(*lengths.first()?).ok());
    script(call, window.or_else(given)?, call.output(0)?.element_bytes())
}

fn script(call: &Call<'_>, length: u64, element_bytes: u64) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = outputs_in_order(call.node).collect();
    if length == 0 || length.is_power_of_two() || call.output(0)?.n_elements()? == 0 {
        return Some(steps);
    }
    let padded = length.checked_mul(2)?.checked_sub(1)?.checked_next_power_of_two()?;
    let bytes = Bytes(padded.checked_mul(2)?.checked_mul(element_bytes)?);
    let scratch = |what| Step::Scratch { what, bytes };
    steps.extend([scratch("mirrored chirp"), scratch("transformed chirp"), scratch("chirp"), Step::Give(0)]);
    steps.extend([scratch("padded signal"), scratch("transformed signal")]);
    Some(steps)
}
