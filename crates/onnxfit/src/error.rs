//! Why a question could not be answered.

use std::path::PathBuf;

use onnxfit_graph::GraphError;
use onnxfit_hardware::TargetError;
use onnxfit_onnx::{OnnxError, TensorError};

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error(transparent)]
    File(Box<OnnxError>),
    /// A tensor of it.
    #[error(transparent)]
    Tensor(Box<TensorError>),
    /// Its structure.
    #[error("`{path}`: {source}")]
    Graph {
        /// The model file.
        path: PathBuf,
        /// What is wrong.
        source: Box<GraphError>,
    },
    /// The place to run it.
    #[error(transparent)]
    Target(Box<TargetError>),
    /// A dimension or shape that the model does not have.
    #[error("{0}")]
    Binding(String, Option<String>),
    /// ONNX Runtime could not be found or could not run.
    #[error("{message}")]
    Runtime {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A change could not be made.
    #[error("{message}")]
    Rewrite {
        /// What and why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A training could not begin, or ended early.
    #[error("{message}")]
    Train {
        /// What happened, and what is left.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The twin could not say.
    #[error("{0}")]
    Predict(String),
    /// Another file or folder.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// `create`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
}

impl From<OnnxError> for Error {
    fn from(error: OnnxError) -> Self {
        Self::File(Box::new(error))
    }
}

impl From<TensorError> for Error {
    fn from(error: TensorError) -> Self {
        Self::Tensor(Box::new(error))
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Self::Target(Box::new(error))
    }
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Tensor(error) => error.hint(),
            Self::Target(error) => Some(error.hint()),
            Self::Binding(_, hint)
            | Self::Runtime { hint, .. }
            | Self::Rewrite { hint, .. }
            | Self::Train { hint, .. } => hint.clone(),
            Self::Graph { .. } => {
                Some("onnx.checker.check_model says the same of such a file; export the model again".to_owned())
            }
            Self::Predict(_) | Self::Io { .. } => None,
        }
    }
}
