//! Where training computes something else on the way forward than inference does.

use onnxfit_graph::{Graph, Node};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::NodeProto;
use onnxfit_shape::{Fact, GraphFacts};

use crate::gradient::{Gradient, GradientOptions};
use crate::reverse::{Unsupported, unsupported};
use crate::rules;
use crate::tape::{Tape, Var};

/// Replaces a node on the way forward; `false` leaves it as it is.
pub(crate) type Hook = fn(&mut Forward<'_>) -> Result<bool, Unsupported>;

/// One node on the way forward.
pub(crate) struct Forward<'a> {
    pub(crate) tape: &'a mut Tape,
    pub(crate) node: &'a Node,
    pub(crate) graph: &'a Graph,
    pub(crate) facts: &'a GraphFacts,
    pub(crate) options: &'a GradientOptions,
    /// Stored values that training replaces, and the outputs with their next values.
    pub(crate) statistics: &'a mut Vec<Gradient>,
}

/// The hook of an operator.
pub(crate) fn forward_hook(domain: &str, op_type: &str) -> Option<Hook> {
    let all = rules::HOOKS.iter();
    all.filter(|(name, _)| domain.is_empty() && *name == op_type).map(|(_, hook)| *hook).next()
}

impl Forward<'_> {
    /// An input that the operator cannot do without.
    pub(crate) fn x(&mut self, index: usize) -> Result<Var, Unsupported> {
        match self.node.input(index) {
            Some(id) => Ok(self.tape.named(&self.graph.value(id).name)),
            None => Err(Unsupported(format!("has no input {index}"))),
        }
    }

    /// What is known of an input.
    pub(crate) fn fact(&self, index: usize) -> Option<&Fact> {
        self.facts.get(self.node.input(index)?)
    }

    /// The element type of the first input.
    pub(crate) fn element_type(&self) -> DataType {
        self.fact(0).and_then(|fact| fact.element_type).unwrap_or(DataType::Float)
    }

    /// Lets a value of the tape be an output of the node that is replaced.
    pub(crate) fn set_output(&mut self, slot: usize, var: Var) -> Result<(), Unsupported> {
        let Some(id) = self.node.output(slot) else { return unsupported("leaves out an output") };
        let name = &self.graph.value(id).name;
        self.tape.push(NodeProto {
            input: vec![self.tape.name(var).to_owned()],
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        });
        Ok(())
    }
}
