//! Element-wise kernels that work through temporary tensors.
//!
//! `tensor/where_op.cc` and `math/element_wise_ops.cc:UntypedBroadcastVariadic` (ORT 1.31).

use onnxfit_base::Bytes;

use super::{Call, Step};
use crate::sizes::{TensorSize, broadcast_dims};

/// `Where` selects from each side into a tensor of its own, then merges the two.
pub(super) fn choose(call: &Call<'_>) -> Option<Vec<Step>> {
    let (condition, left, right) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let chosen = |side: &TensorSize| {
        let dims = broadcast_dims(&condition.dims, &side.dims)?;
        TensorSize { element: side.element, dims }.bytes()
    };
    Some(vec![
        Step::Scratch { what: "chosen where true", bytes: chosen(left)? },
        Step::Scratch { what: "chosen where false", bytes: chosen(right)? },
        Step::Output(0),
    ])
}

/// `Sum`, `Max`, `Min` and `Mean` of more than two tensors combine them pair by pair; each partial
/// result is freed when the next one is done.
pub(super) fn variadic(call: &Call<'_>) -> Option<Vec<Step>> {
    let n_inputs = call.node.inputs.len();
    let mut dims = call.input(0)?.dims.clone();
    let element = call.input(0)?.element;
    let mut steps = Vec::new();
    for position in 1..n_inputs {
        dims = broadcast_dims(&dims, &call.input(position)?.dims)?;
        let last = position == n_inputs - 1;
        let bytes: Bytes = TensorSize { element, dims: dims.clone() }.bytes()?;
        steps.push(if last { Step::Output(0) } else { Step::Scratch { what: "partial result", bytes } });
        if position >= 3 && !last {
            steps.push(Step::Give(position - 3));
        }
    }
    if n_inputs == 1 {
        steps.push(Step::Output(0));
    }
    Some(steps)
}
