//! The process that holds one model: it may die, the server may not.
//!
//! [`serve_worker`] is the child's whole life, behind a hidden verb of the command; [`Worker`] is
//! the server's end of it.

mod child;
mod process;

use onnxfit::runtime::TensorInfo;
use onnxfit::runtime::guard::Counts;
use serde::{Deserialize, Serialize};

use crate::setup::{ModelSetup, SessionSetup};

pub use child::serve_worker;
pub use process::WorkerProgram;
pub(crate) use process::{Opened, Worker, WorkerError};

/// What the server asks; tensors travel behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Ask {
    /// Load the model. Asked once, first.
    Open { model: Box<ModelSetup>, session: Box<SessionSetup>, limit_bytes: Option<u64> },
    /// Run it on the tensors that follow.
    Run,
}

/// What the worker answers; outputs follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
enum Tell {
    Opened {
        inputs: Vec<TensorInfo>,
        outputs: Vec<TensorInfo>,
        memory: Memory,
    },
    Ran {
        counts: Counts,
        memory: Memory,
    },
    /// Not even one row fits.
    DoesNotFit {
        message: String,
    },
    /// The request is not one of the model's.
    WrongInput {
        message: String,
    },
    Failed {
        message: String,
    },
}

/// The worker's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) in_use_bytes: u64,
    pub(crate) held_bytes: u64,
    pub(crate) peak_bytes: u64,
}
