//! Why a model cannot be trained.

use std::fmt;

use onnxfit_graph::GraphError;
use onnxfit_runtime::RunError;

/// Why a model cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// The model has no value of this name, where one is needed.
    #[error("the model has no {what} `{name}`")]
    NoSuchValue {
        /// What was looked for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A parameter that is neither an initializer nor an input of a floating-point type.
    #[error("`{name}` cannot be trained: {reason}")]
    NotTrainable {
        /// The parameter.
        name: String,
        /// Why, as the rest of a sentence.
        reason: String,
    },
    /// The loss is no single floating-point number.
    #[error("`{name}` cannot be the loss: {reason}")]
    NotALoss {
        /// The value.
        name: String,
        /// Why, as the rest of a sentence.
        reason: String,
    },
    /// Operators between the parameters and the loss that have no gradient here.
    #[error("{}", sentence(.0))]
    NoGradient(Vec<MissingGradient>),
    /// The model is written in a form that is not read here.
    #[error("the model cannot be trained as it is: {0}")]
    Model(String),
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
    /// ONNX Runtime could not run a step, even with the smallest parts of a batch.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A loss or gradient that is no number.
    #[error("the {what} of step {step} is {value}; the parameters are as they were before it")]
    NotFinite {
        /// What is no number.
        what: &'static str,
        /// The step, counted from 0.
        step: u64,
        /// What it is instead.
        value: String,
    },
    /// A batch that cannot be used.
    #[error("the batch cannot be used: {0}")]
    Batch(String),
    /// The graph that was made, or given, does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// One operator without a gradient, and the parameters it cuts off from the loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingGradient {
    /// The operator, with its domain if it is not ONNX's own.
    pub operator: String,
    /// The nodes, by name or first output.
    pub nodes: Vec<String>,
    /// Why there is none.
    pub reason: String,
    /// The parameters that reach the loss through these nodes.
    pub parameters: Vec<String>,
}

impl fmt::Display for MissingGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}) {}", self.operator, list(&self.nodes), self.reason)?;
        write!(f, "; it cuts off {}", list(&self.parameters))
    }
}

fn sentence(missing: &[MissingGradient]) -> String {
    let each: Vec<String> = missing.iter().map(ToString::to_string).collect();
    format!("no gradient through {}", each.join("; "))
}

/// The first few names, and how many more there are.
fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}
