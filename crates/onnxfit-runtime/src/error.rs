//! What can go wrong between onnxfit and ONNX Runtime.
//!
//! Running out of memory is a kind of its own, because it is the question that onnxfit answers.
//! Everything here crosses the worker's pipe, so it is data: no pointers, no foreign error types.

use serde::{Deserialize, Serialize};

use crate::oom::{OutOfMemory, innermost_node};

/// Why a model did not load or did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum RunError {
    /// Memory ran out.
    #[error(transparent)]
    OutOfMemory(OutOfMemory),
    /// ONNX Runtime refused for another reason.
    #[error("{}", failure_sentence(*stage, op_type.as_deref(), node.as_deref(), message))]
    Failed {
        /// While loading or while running.
        stage: Stage,
        /// Innermost failing node.
        node: Option<String>,
        /// Its operator.
        op_type: Option<String>,
        /// ONNX Runtime's message.
        message: String,
    },
    /// The execution provider could not be started.
    #[error("ONNX Runtime cannot start its {provider} provider: {message}")]
    ProviderUnavailable {
        /// Provider's name.
        provider: String,
        /// ONNX Runtime's message.
        message: String,
    },
    /// The library could not be loaded.
    #[error("cannot load ONNX Runtime from `{path}`: {message}")]
    Library {
        /// The library file.
        path: String,
        /// Why.
        message: String,
    },
    /// An input is missing, unknown, or of the wrong type.
    #[error("input `{name}` {reason}")]
    Input {
        /// Input's name.
        name: String,
        /// What is wrong with it, as the rest of a sentence.
        reason: String,
    },
    /// An option contradicts another or the library.
    #[error("{0}")]
    Option(String),
    /// The worker process ended before it answered.
    #[error("{}", death_sentence(*signal, *exit_code, doing, stderr_tail))]
    WorkerDied {
        /// Signal that killed it.
        signal: Option<i32>,
        /// Its exit code, if it ended by itself.
        exit_code: Option<i32>,
        /// What it was asked to do.
        doing: String,
        /// The last lines that it wrote on stderr.
        stderr_tail: String,
    },
    /// The worker did not answer in time and was ended.
    #[error("the worker process took longer than {seconds} s to {doing} and was ended")]
    WorkerTimeout {
        /// What it was asked to do.
        doing: String,
        /// The limit.
        seconds: u64,
    },
    /// The worker could not be started, or its answer could not be read.
    #[error("the worker process {0}")]
    Worker(String),
}

/// When ONNX Runtime refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// While the session was created.
    Load,
    /// While a run was under way.
    Run,
}

impl RunError {
    /// Sorts an ONNX Runtime message: out of memory, or another failure.
    pub fn from_message(stage: Stage, message: &str) -> Self {
        if let Some(found) = OutOfMemory::parse(message) {
            return Self::OutOfMemory(found);
        }
        let (op_type, node) = innermost_node(message).map_or((None, None), |(op_type, node)| (Some(op_type), node));
        Self::Failed { stage, node, op_type, message: message.trim_end().to_owned() }
    }

    /// Whether memory ran out: told by ONNX Runtime, or by the kernel killing the worker, which
    /// Linux does with SIGKILL when the machine or the container has no memory left.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory(_) | Self::WorkerDied { signal: Some(9), .. })
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WorkerDied { signal: Some(9), .. } => {
                Some("the kernel ends a process so when memory runs out; give it more memory or a smaller input")
            }
            Self::ProviderUnavailable { .. } => Some(
                "the GPU library needs an NVIDIA driver and CUDA of its own release; `onnxfit runtime` shows which library is used",
            ),
            _ => None,
        }
    }
}

fn failure_sentence(stage: Stage, op_type: Option<&str>, node: Option<&str>, message: &str) -> String {
    let doing = match stage {
        Stage::Load => "load the model",
        Stage::Run => "run the model",
    };
    match (op_type, node) {
        (Some(op_type), Some(node)) => format!("ONNX Runtime could not {doing} at {op_type} node `{node}`: {message}"),
        (Some(op_type), None) => format!("ONNX Runtime could not {doing} at an unnamed {op_type} node: {message}"),
        _ => format!("ONNX Runtime could not {doing}: {message}"),
    }
}

fn death_sentence(signal: Option<i32>, exit_code: Option<i32>, doing: &str, stderr_tail: &str) -> String {
    let how = match (signal, exit_code) {
        (Some(9), _) => "was killed (signal 9), as the kernel does when memory runs out,".to_owned(),
        (Some(6), _) => "aborted (signal 6)".to_owned(),
        (Some(11), _) => "crashed (signal 11)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    };
    let tail = stderr_tail.trim();
    let tail = if tail.is_empty() { String::new() } else { format!("; it wrote: {tail}") };
    format!("the worker process {how} while it was to {doing}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_crosses_the_workers_pipe() {
        let text = || "text".to_owned();
        let memory = "Available memory of 1 is smaller than requested bytes of 256";
        for error in [
            RunError::from_message(Stage::Load, memory),
            RunError::from_message(Stage::Run, "while running Add node. Name:'a' Status Message: wrong"),
            RunError::ProviderUnavailable { provider: text(), message: text() },
            RunError::Library { path: text(), message: text() },
            RunError::Input { name: text(), reason: text() },
            RunError::Option(text()),
            RunError::WorkerDied { signal: Some(9), exit_code: None, doing: text(), stderr_tail: text() },
            RunError::WorkerTimeout { doing: text(), seconds: 1 },
            RunError::Worker(text()),
        ] {
            let json = serde_json::to_string(&error).expect("an error is plain data");
            assert_eq!(serde_json::from_str::<RunError>(&json).ok(), Some(error), "{json}");
        }
    }
}
