//! The concrete tensors of one run: what the shapes crate, or a fixture, says about every value.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

use crate::program::{NodeIdx, ValueIdx, tensor_bytes};

/// A tensor of a known type and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSize {
    /// Element type.
    pub element: DataType,
    /// Dimensions.
    pub dims: Vec<u64>,
}

impl TensorSize {
    /// The number of elements; `None` past `u64::MAX`.
    pub fn n_elements(&self) -> Option<u64> {
        self.dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim))
    }

    /// Bytes in memory; `None` past `u64::MAX`.
    pub fn bytes(&self) -> Option<Bytes> {
        tensor_bytes(self.element, self.n_elements()?).map(Bytes)
    }

    /// Bytes of one element; zero for packed types.
    pub fn element_bytes(&self) -> u64 {
        tensor_bytes(self.element, 1).unwrap_or(0)
    }
}

/// The tensors of one run of one program.
#[derive(Clone, Debug, Default)]
pub struct RunSizes {
    /// By value; `None` where the size cannot be known.
    pub tensors: Vec<Option<TensorSize>>,
    /// The elements of each value that is a sequence, where known.
    pub sequences: BTreeMap<ValueIdx, Vec<TensorSize>>,
    /// What each node's subgraphs do in this run.
    pub bodies: Vec<BodyRun>,
}

/// One execution of a subgraph, or several alike, in the order in which they happen.
#[derive(Clone, Debug)]
pub struct BodyRun {
    /// The node that owns the subgraph.
    pub node: NodeIdx,
    /// The attribute that holds it, such as `then_branch`.
    pub attribute: String,
    /// Its tensors.
    pub sizes: RunSizes,
    /// How often it goes like this, one after the other.
    pub times: u64,
}

impl RunSizes {
    /// The tensor of a value, where known.
    pub fn tensor(&self, value: ValueIdx) -> Option<&TensorSize> {
        self.tensors.get(value.index()).and_then(Option::as_ref)
    }

    /// Bytes of a value; zero where unknown.
    pub fn bytes(&self, value: ValueIdx) -> Bytes {
        self.tensor(value).and_then(TensorSize::bytes).unwrap_or_default()
    }
}

/// Numpy-style broadcasting of two shapes; `None` if they do not fit.
pub(crate) fn broadcast_dims(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let rank = left.len().max(right.len());
    let at = |dims: &[u64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|i| match (at(left, i), at(right, i)) {
            (1, other) | (other, 1) => Some(other),
            (left, right) if left == right => Some(left),
            _ => None,
        })
        .collect()
}
