//! Why the guard could not answer.

use onnxfit_base::Bytes;

use crate::{OutOfMemory, RunError};

/// A piece that cannot be made smaller does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct DoesNotFit {
    /// Whether the model may be cut along its batch: if so, this is a single row.
    pub cuttable: bool,
    /// What it takes, where that is predicted.
    pub need: Option<Bytes>,
    /// What there is, as far as known.
    pub room: Option<Bytes>,
    /// What ONNX Runtime said: node, bytes.
    pub failure: OutOfMemory,
}

impl DoesNotFit {
    fn sentence(&self) -> String {
        let what = match self.cuttable {
            true => "one row does not fit by itself",
            false => "the request does not fit, and the model may not be cut along its batch",
        };
        let need = match (self.need, self.room) {
            (Some(need), Some(room)) => format!(" (predicted to take {need}, there is {room})"),
            (Some(need), None) => format!(" (predicted to take {need})"),
            _ => String::new(),
        };
        format!("{what}{need}: {}", self.failure)
    }
}

/// Why the guard could not answer.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The smallest piece does not fit.
    #[error(transparent)]
    DoesNotFit(Box<DoesNotFit>),
    /// Loading took more than the arena's limit, so ONNX Runtime does not enforce it any more.
    #[error(
        "the arena's limit of {limit} is less than the {held} that loading takes; ONNX Runtime would not enforce it"
    )]
    LimitBelowWeights {
        /// The limit.
        limit: Bytes,
        /// What the loaded session holds.
        held: Bytes,
    },
    /// ONNX Runtime failed for another reason than memory.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The file of learned limits.
    #[error("cannot {action} the learned limits in `{path}`: {source}")]
    Learned {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl GuardError {
    /// Whether memory is the reason.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::DoesNotFit(_) | Self::LimitBelowWeights { .. } => true,
            Self::Run(error) => error.is_out_of_memory(),
            Self::Learned { .. } => false,
        }
    }
}
