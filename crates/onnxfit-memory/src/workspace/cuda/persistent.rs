//! Device memory that kernels take when they are created and keep as long as the session.
//!
//! `rnn/cudnn_rnn_base.cc` (weights in cuDNN's layout), `bert/multihead_attention.cc` (cached
//! sequence offsets), `tensor/upsample.cc` (the table of antialiasing), ORT 1.30-dev.

use onnxfit_base::Bytes;

use super::product;
use crate::program::{Node, NodeIdx, NodeProvider, Program};
use crate::sizes::TensorSize;

/// One buffer of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Persistent {
    pub(crate) node: NodeIdx,
    pub(crate) what: &'static str,
    pub(crate) bytes: Bytes,
    /// Whether it is reserved; the others come from the arena's regions.
    pub(crate) reserved: bool,
}

/// 128 sequences and the end of the last, four bytes each (`kCumulatedSequenceLengthCacheMaxBatchSize`).
const OFFSETS_BYTES: u64 = (128 + 1) * 4;
/// `kLookupTableSize`.
const ANTIALIAS_TABLE_BYTES: u64 = 1280;

/// Every such buffer of a program, in node order.
pub(crate) fn persistent(program: &Program) -> Vec<Persistent> {
    let mut all = Vec::new();
    for index in program.node_indices() {
        let node = program.node(index);
        if node.provider != NodeProvider::Cuda {
            continue;
        }
        for (what, bytes, reserved) in buffers(program, node) {
            all.push(Persistent { node: index, what, bytes: Bytes(bytes), reserved });
        }
    }
    all
}

fn buffers(program: &Program, node: &Node) -> Vec<(&'static str, u64, bool)> {
    let n_gates = match (node.domain.as_str(), node.op_type.as_str()) {
        ("", "LSTM") => 4,
        ("", "GRU") => 3,
        ("", "RNN") => 1,
        ("com.microsoft", "MultiHeadAttention") => {
            return vec![("query offsets", OFFSETS_BYTES, true), ("key offsets", OFFSETS_BYTES, true)];
        }
        ("", "Resize") if node.int("antialias", 0) != 0 => {
            return vec![("antialias table", ANTIALIAS_TABLE_BYTES, false)];
        }
        _ => return Vec::new(),
    };
    if !is_constant(program, node, &[1, 2, 3]) {
        return Vec::new();
    }
    let hidden = u64::try_from(node.int("hidden_size", 0)).unwrap_or(0);
    let weights = node.input(1).and_then(|value| program.weights.iter().find(|weight| weight.value == value));
    let bytes = weights.and_then(|weight| reorganized_bytes(weight.size.as_ref()?, hidden, n_gates));
    bytes.map(|bytes| ("reorganized weights", bytes, false)).into_iter().collect()
}

/// Whether the inputs at these positions are weights that nobody may feed, as far as they are there.
pub(super) fn is_constant(program: &Program, node: &Node, positions: &[usize]) -> bool {
    positions
        .iter()
        .filter_map(|&position| node.input(position))
        .all(|value| program.weights.iter().any(|weight| weight.value == value && !weight.overridable))
}

/// Input weights, recurrent weights and two biases of every gate and direction.
pub(super) fn reorganized_bytes(weights: &TensorSize, hidden: u64, n_gates: u64) -> Option<u64> {
    let &[n_directions, _, n_inputs] = weights.dims.as_slice() else { return None };
    let per_gate = n_inputs.checked_add(hidden)?.checked_add(2)?;
    product(&[n_directions, n_gates, hidden, per_gate, weights.element_bytes()])
}
