//! Why a change could not be made.

use onnxfit_graph::GraphError;
use onnxfit_onnx::TensorError;

/// Why a change could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The model's operator set has no such type.
    #[error("operator set {opset} has no casts to {what}")]
    OpsetTooOld {
        /// The version that the model imports.
        opset: i64,
        /// The type.
        what: &'static str,
    },
    /// A local function calls itself, directly or through others.
    #[error("function `{function}` calls itself")]
    RecursiveFunction {
        /// The function.
        function: String,
    },
    /// Inlining would make the model larger than any that could be run.
    #[error("inlining the functions makes more than {limit} nodes")]
    TooManyNodes {
        /// The most that are made.
        limit: usize,
    },
    /// An input does not hold images, or not such as were described.
    #[error("input `{input}` cannot take bytes: {reason}")]
    NoByteInput {
        /// The input.
        input: String,
        /// Why.
        reason: String,
    },
    /// The graph is not sound, before or after the change.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
