//! A value: what flows between nodes, and who makes and reads it.

use std::sync::Arc;

use onnxfit_onnx::proto::{SparseTensorProto, TensorProto, ValueInfoProto};

use crate::node::NodeId;
use crate::types::ValueType;

onnxfit_base::typed_id!(
    /// A value of one graph. Ids are not shared between a graph and its subgraphs.
    ValueId
);

/// The content of an initializer.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// A dense tensor; its bytes may be elsewhere.
    Dense(Arc<TensorProto>),
    /// A sparse tensor.
    Sparse(Arc<SparseTensorProto>),
}

/// One reading of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// Who reads.
    pub node: NodeId,
    /// At which input; `None` when a subgraph of the node captures the value.
    pub input: Option<usize>,
}

/// A value of a graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its name, unique in the graph.
    pub name: String,
    /// Its type, as far as the file declares it.
    pub ty: ValueType,
    /// The node and output that make it; `None` for inputs, initializers and captured values.
    pub producer: Option<(NodeId, usize)>,
    /// Everyone who reads it, in node order.
    pub uses: Vec<Use>,
    /// Its content, if it is an initializer (it may be a graph input as well: a default).
    pub constant: Option<Constant>,
    /// Whether it is an input of the graph.
    pub is_input: bool,
    /// Whether it is an output of the graph.
    pub is_output: bool,
    /// Whether it comes from the graph around this one.
    pub is_captured: bool,
    /// The declaration as the file has it.
    pub(crate) info: Option<ValueInfoProto>,
}

impl Value {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ty: ValueType::Unknown,
            producer: None,
            uses: Vec::new(),
            constant: None,
            is_input: false,
            is_output: false,
            is_captured: false,
            info: None,
        }
    }

    /// The dense tensor, for an initializer that is one.
    pub fn tensor(&self) -> Option<&Arc<TensorProto>> {
        match &self.constant {
            Some(Constant::Dense(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// Whether the value is fixed: an initializer that the caller cannot override.
    pub fn is_fixed(&self) -> bool {
        self.constant.is_some() && !self.is_input
    }
}
