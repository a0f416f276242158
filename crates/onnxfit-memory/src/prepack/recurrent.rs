//! The packed weights of LSTM and GRU: one buffer an input, all directions in it.
//!
//! `rnn/deep_cpu_lstm.cc:TryPackWeights`, `rnn/deep_cpu_gru.cc` (ORT 1.31).

use onnxfit_onnx::DataType;

use super::matmul::packed_b_bytes;
use super::{Asked, Buffer};

pub(super) fn lstm(asked: &Asked<'_>) -> Vec<Buffer> {
    let &Asked { position, size, .. } = asked;
    let (1 | 2, DataType::Float, &[directions, n, k]) = (position, size.element, size.dims.as_slice()) else {
        return Vec::new();
    };
    packed_b_bytes(k, n).and_then(|bytes| bytes.checked_mul(directions)).map(Buffer::reserved).into_iter().collect()
}

pub(super) fn gru(asked: &Asked<'_>) -> Vec<Buffer> {
    let &Asked { position, size, .. } = asked;
    let (1 | 2, DataType::Float, &[directions, n, k]) = (position, size.element, size.dims.as_slice()) else {
        return Vec::new();
    };
    let bytes = if position == 1 {
        packed_b_bytes(k, n)
    } else {
        // Update and reset gates are packed together, the hidden gate alone.
        packed_b_bytes(k, n / 3 * 2).zip(packed_b_bytes(k, n / 3)).and_then(|(gates, hidden)| gates.checked_add(hidden))
    };
    bytes.and_then(|bytes| bytes.checked_mul(directions)).map(Buffer::reserved).into_iter().collect()
}
