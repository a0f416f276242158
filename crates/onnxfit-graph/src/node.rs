//! A node: one operator applied to values.

use std::sync::Arc;

use onnxfit_onnx::proto::{NodeDeviceConfigurationProto, StringStringEntryProto, TensorProto};

use crate::attribute::{Attribute, AttributeValue};
use crate::graph::Graph;
use crate::value::ValueId;

onnxfit_base::typed_id!(
    /// A node of one graph.
    NodeId
);

/// A node of a graph.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its name; may be empty, need not be unique.
    pub name: String,
    /// The operator, such as `Conv`.
    pub op_type: String,
    /// The operator's domain; empty for ONNX's own (`ai.onnx` is read as empty).
    pub domain: String,
    /// What it reads; `None` for an optional input that is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes; `None` for an optional output that nobody wants.
    pub outputs: Vec<Option<ValueId>>,
    /// Its attributes, in file order.
    pub attributes: Vec<Attribute>,
    /// Values of this graph that the node's subgraphs capture, each once, in order of appearance.
    pub implicit_inputs: Vec<ValueId>,
    pub(crate) rest: NodeRest,
}

/// What a node carries that onnxfit only passes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeRest {
    pub(crate) name_written: bool,
    pub(crate) domain_written: Option<String>,
    pub(crate) overload: Option<String>,
    pub(crate) doc_string: Option<String>,
    pub(crate) metadata_props: Vec<StringStringEntryProto>,
    pub(crate) device_configurations: Vec<NodeDeviceConfigurationProto>,
}

impl Node {
    /// Whether this is `op_type` of ONNX's own domain.
    pub fn is(&self, op_type: &str) -> bool {
        self.domain.is_empty() && self.op_type == op_type
    }

    /// The value at an input, if there is one.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The value at an output, if there is one.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        self.outputs.get(index).copied().flatten()
    }

    /// An attribute by name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    /// A whole-number attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name) {
            Some(AttributeValue::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// A number attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attribute(name) {
            Some(AttributeValue::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// A list of whole numbers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name) {
            Some(AttributeValue::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// A text attribute; `None` if it is no UTF-8.
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.attribute(name) {
            Some(AttributeValue::String(value)) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&Arc<TensorProto>> {
        match self.attribute(name) {
            Some(AttributeValue::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// A subgraph by attribute name.
    pub fn graph(&self, name: &str) -> Option<&Graph> {
        match self.attribute(name) {
            Some(AttributeValue::Graph(graph)) => Some(graph),
            _ => None,
        }
    }

    /// All subgraphs with their attribute's name, in file order.
    pub fn subgraphs(&self) -> impl Iterator<Item = (&str, &Graph)> {
        self.attributes
            .iter()
            .flat_map(|attribute| attribute.graphs().iter().map(|graph| (attribute.name.as_str(), graph)))
    }
}
