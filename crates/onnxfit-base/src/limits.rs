//! Bounds for files that nobody vouches for.

use crate::Bytes;

/// What a model file may make onnxfit spend before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory for the decoded structure of one file, weights not counted.
    pub structure_bytes_max: Bytes,
    /// Subgraphs inside subgraphs.
    pub nesting_max: usize,
    /// Bytes of one tensor; a dimension of 2^62 is a broken file, not a big model.
    pub tensor_bytes_max: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self { structure_bytes_max: Bytes::gib(2), nesting_max: 32, tensor_bytes_max: Bytes(1 << 50) }
    }
}
