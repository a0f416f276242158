//! Half-precision scales and biases of normalizations, widened once.
//!
//! `core/providers/cpu/nn/layer_norm_impl.cc` and `contrib_ops/cpu/skip_layer_norm.cc` (ORT 1.31).

use onnxfit_onnx::DataType;

use super::{Asked, Buffer};

/// `LayerNormalization` and its kin: scale and bias.
pub(super) fn layer(asked: &Asked<'_>) -> Vec<Buffer> {
    widened(asked, 1..3)
}

/// With a skip connection, everything but the input.
pub(super) fn skip_layer(asked: &Asked<'_>) -> Vec<Buffer> {
    widened(asked, 1..5)
}

fn widened(asked: &Asked<'_>, positions: std::ops::Range<usize>) -> Vec<Buffer> {
    if asked.size.element != DataType::Float16 || !positions.contains(&asked.position) {
        return Vec::new();
    }
    let bytes = asked.size.n_elements().and_then(|n_elements| n_elements.checked_mul(4));
    bytes.map(Buffer::reserved).into_iter().collect()
}
