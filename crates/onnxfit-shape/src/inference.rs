//! The answer: facts of every value, and what had to be said along the way.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_graph::{Model, NodeId, ValueId};

use crate::bindings::Bindings;
use crate::engine::infer_model;
use crate::expr::Expr;
use crate::fact::Fact;
use crate::state::Mode;

/// What is known of a model's values.
#[derive(Clone, Debug, Default)]
pub struct Inference {
    /// The values of the main graph.
    pub graph: GraphFacts,
    /// Operators without a rule (each once), assumptions, contradictions.
    pub diagnostics: Vec<Diagnostic>,
    /// The most that a size which depends on data can be, by its symbol's name.
    pub upper_bounds: BTreeMap<String, Expr>,
    /// Symbols that inference made up for sizes nobody named, in no file and no binding.
    pub made_up: Vec<String>,
}

/// What is known of one graph's values.
#[derive(Clone, Debug, Default)]
pub struct GraphFacts {
    pub(crate) facts: Vec<Fact>,
    pub(crate) subgraphs: BTreeMap<NodeId, Vec<(String, usize, GraphFacts)>>,
}

impl GraphFacts {
    /// What is known of a value.
    ///
    /// # Panics
    /// If the value is of another graph, or was made after the inference.
    pub fn fact(&self, value: ValueId) -> &Fact {
        &self.facts[value.index()]
    }

    /// What is known of a value; `None` if it was made after the inference.
    pub fn get(&self, value: ValueId) -> Option<&Fact> {
        self.facts.get(value.index())
    }

    /// The facts of a node's subgraph: `index` counts the graphs of one attribute. `None` if that
    /// branch is never taken.
    pub fn subgraph(&self, node: NodeId, attribute: &str, index: usize) -> Option<&Self> {
        let found = self.subgraphs.get(&node)?.iter().find(|(name, at, _)| name == attribute && *at == index);
        found.map(|(_, _, facts)| facts)
    }
}

/// Infers types and shapes of everything in a model.
pub fn infer(model: &Model, bindings: &Bindings) -> Inference {
    infer_model(model, bindings, Mode::Full)
}

/// Infers as ONNX Runtime does when it loads the model: a dimension is a number, one of the file's
/// own names, or unknown ([`Expr::is_unknown`]); there is no arithmetic on sizes.
pub fn infer_as_onnxruntime(model: &Model) -> Inference {
    infer_model(model, &Bindings::default(), Mode::OnnxRuntime)
}
