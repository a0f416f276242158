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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::lower::lower;
    use crate::prepack::packed;

    #[test]
    fn widened_scales_are_kept_by_each_node_and_packed_matrices_by_the_first() {
        let text = "<ir_version: 8, opset_import: [\"\" : 17]>
            g (float16[N, 4] x, float[N, 4] f) => (float16[N, 4] y, float[N, 4] h)
            <float16[4] s = {1, 1, 1, 1}, float[4, 4] w = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}>
            { a = LayerNormalization(x, s)  y = LayerNormalization(a, s)  g = MatMul(f, w)  h = MatMul(g, w) }";
        let proto = onnxfit_onnx::text::parse(text).unwrap();
        let program = lower(&onnxfit_graph::Model::from_proto(&proto).unwrap());
        let copies = packed(&program, &BTreeMap::new());
        let told: Vec<_> = copies.iter().map(|copy| (copy.buffers[0].bytes.0, copy.shared)).collect();
        assert_eq!(told, [(16, false), (16, false), (256, true), (256, true)]);
    }
}
