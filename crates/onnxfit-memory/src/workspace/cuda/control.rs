//! Control flow: what it takes is taken by the body, which is replayed on its own.

use super::{Call, Piece, after_outputs};

/// Asked only when a run says nothing about the body: the outputs are what is left.
pub(super) fn body_decides(call: &Call<'_>) -> Option<Vec<Piece>> {
    Some(after_outputs(call.node, []))
}
