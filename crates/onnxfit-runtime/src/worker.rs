//! Runs models in a process of their own.
//!
//! The kernel's out-of-memory killer cannot be caught, nor can a library that aborts: what may end
//! so runs in a child. [`serve`] is the child's whole life, behind a hidden verb of the command;
//! [`Client`] starts it and asks; [`Pipe`] below it serves other
//! workers too, and turns every way that a child can end into a [`RunError`].

mod alarm;
mod client;
mod pipe;
mod serve;
mod stdio;
pub mod wire;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ArenaStats, RunError, SessionSpec, TensorInfo, Tensors, Trace};

pub use client::Client;
pub use pipe::Pipe;
pub use serve::serve;
pub use stdio::stdio;

/// What a client asks. Tensors travel behind it, as raw bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Request {
    /// Load a model; an earlier one is dropped first.
    Open { library: PathBuf, spec: Box<SessionSpec> },
    /// Run it once on the tensors that follow.
    Run { return_outputs: bool },
    /// The arena's log lines since the last question.
    TakeArenaLog,
    /// End profiling and tell the file.
    EndProfiling,
}

/// What the worker answers; outputs follow it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
enum Answer {
    Opened(Box<Opened>),
    Ran(Box<Measured>),
    ArenaLog { lines: Vec<String> },
    Profile { path: PathBuf },
    Failed { error: Box<RunError> },
}

/// A model that was loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// ONNX Runtime's version.
    pub version: String,
    /// The model's inputs.
    pub inputs: Vec<TensorInfo>,
    /// The model's outputs.
    pub outputs: Vec<TensorInfo>,
    /// The arena after loading; `None` where there is none to ask.
    pub arena: Option<ArenaStats>,
    /// What a tracing meter saw while loading.
    pub trace: Option<Trace>,
    /// How long it took.
    pub seconds: f64,
}

/// The measurements of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The arena while the outputs are still held; `None` where there is none to ask.
    pub arena_with_outputs: Option<ArenaStats>,
    /// The arena after the outputs were released.
    pub arena: Option<ArenaStats>,
    /// What a tracing meter saw during this run alone, the release of the outputs included.
    pub trace: Option<Trace>,
    /// How long the run took.
    pub seconds: f64,
    /// Warnings that ONNX Runtime logged.
    pub warnings: Vec<String>,
}

/// One run's answers and measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// The outputs; empty if they were not asked for.
    pub outputs: Tensors,
    /// The measurements.
    pub measured: Measured,
}

#[cfg(test)]
mod tests;
