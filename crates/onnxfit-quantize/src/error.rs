//! Why a model or a tensor could not be quantized.

use onnxfit_graph::GraphError;
use onnxfit_onnx::TensorError;

/// Why a model or a tensor could not be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The number of elements is not that of the shape.
    #[error("{have} elements do not fill the shape {dims:?}")]
    WrongLength {
        /// How many there are.
        have: usize,
        /// The shape.
        dims: Vec<usize>,
    },
    /// There is no such axis.
    #[error("shape {dims:?} has no axis {axis}")]
    NoAxis {
        /// The axis.
        axis: usize,
        /// The shape.
        dims: Vec<usize>,
    },
    /// A block holds at least one element.
    #[error("a block of 0 elements holds nothing")]
    EmptyBlock,
    /// A weight holds numbers that have no place on a line.
    #[error("`{tensor}` holds {n_bad} NaN or infinite numbers")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// How many.
        n_bad: usize,
    },
    /// The model's operator set lacks what is needed.
    #[error("operator set {opset} has no {what}; it came with {needed}")]
    OpsetTooOld {
        /// The version that the model imports.
        opset: i64,
        /// What is missing.
        what: &'static str,
        /// The first version that has it.
        needed: i64,
    },
    /// The graph is not sound, before or after the change.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
