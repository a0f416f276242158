//! Numbers that nodes carry: the bounds of a `Clip`.

use onnxfit_graph::{Graph, Node};
use onnxfit_onnx::TensorSource;

use crate::constants::floats;

/// Between what a `Relu` or `Clip` leaves numbers as they are; `None` if that is computed.
pub(super) fn clip_bounds(graph: &Graph, node: &Node, source: &dyn TensorSource) -> Option<(f32, f32)> {
    if node.is("Relu") {
        return Some((0.0, f32::MAX));
    }
    let bound = |index: usize, attribute: &str, default: f32| match node.input(index) {
        None => Some(node.float(attribute).unwrap_or(default)),
        Some(value) => floats(graph.constant_tensor(value)?, source).ok()?.first().copied(),
    };
    Some((bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?))
}
