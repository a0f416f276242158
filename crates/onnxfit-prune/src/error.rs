//! Why a model could not be pruned.

use onnxfit_base::Diagnostic;
use onnxfit_graph::GraphError;
use onnxfit_onnx::TensorError;

/// Why a model could not be pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The changed graph is none.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// More channels than are kept track of.
    #[error("the model has more than 67 million channels")]
    TooLarge,
    /// A node could not be made right again.
    #[error("`{node}` ({op_type}) cannot be told its smaller shape")]
    CannotMend {
        /// The node.
        node: String,
        /// Its operator.
        op_type: String,
    },
    /// The pruned model's shapes do not agree.
    #[error("the pruned model's shapes do not agree: {}", .0.message)]
    Shapes(Diagnostic),
    /// A matrix that the refit needs cannot be inverted.
    #[error("the refit of `{0}` has no solution")]
    NoSolution(String),
}
