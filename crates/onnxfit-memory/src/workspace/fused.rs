//! Kernels that graph rewrites put in place of several nodes.
//!
//! `contrib_ops/cpu/bert/bias_gelu.cc`, `contrib_ops/cpu/skip_layer_norm.cc` (ORT 1.31).

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

use super::{Call, Step, outputs_in_order, outputs_then};

/// `BiasGelu`, and `FastGelu` with a bias: half the input beside the result.
pub(super) fn bias_gelu(call: &Call<'_>) -> Option<Vec<Step>> {
    let halves = if call.node.input(1).is_some() { call.input(0)?.bytes()?.0 } else { 0 };
    Some(outputs_then(call.node, "half the input", halves))
}

/// Skip connection and normalization: half-precision tensors are widened first.
pub(super) fn skip_layer_norm(call: &Call<'_>) -> Option<Vec<Step>> {
    let input = call.input(0)?;
    let mut steps: Vec<Step> = outputs_in_order(call.node).collect();
    if input.element == DataType::Float16 {
        let bytes = Bytes(input.n_elements()?.checked_mul(4)?);
        for what in ["widened input", "widened output", "widened sum"] {
            steps.push(Step::Scratch { what, bytes });
        }
        if let Some(skip) = call.input(1) {
            let bytes = Bytes(skip.n_elements()?.checked_mul(4)?);
            steps.push(Step::Scratch { what: "widened skip", bytes });
        }
    }
    Some(steps)
}
