//! Attributes of a node, typed.

use std::sync::Arc;

use onnxfit_onnx::proto::{AttributeProto, SparseTensorProto, TensorProto, TypeProto};

use crate::graph::Graph;

/// What an attribute holds.
#[derive(Clone, Debug)]
pub enum AttributeValue {
    /// A number.
    Float(f32),
    /// A whole number.
    Int(i64),
    /// Text or bytes.
    String(bytes::Bytes),
    /// A tensor.
    Tensor(Arc<TensorProto>),
    /// A subgraph.
    Graph(Box<Graph>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Texts.
    Strings(Vec<bytes::Bytes>),
    /// Tensors.
    Tensors(Vec<Arc<TensorProto>>),
    /// Subgraphs.
    Graphs(Vec<Graph>),
    /// Whatever onnxfit has no use for: types, sparse tensors, references of function bodies.
    Other(Box<AttributeProto>),
}

/// A named attribute.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub value: AttributeValue,
    pub(crate) doc_string: Option<String>,
}

impl Attribute {
    /// An attribute.
    pub fn new(name: &str, value: AttributeValue) -> Self {
        Self { name: name.to_owned(), value, doc_string: None }
    }

    /// The subgraphs in it.
    pub fn graphs(&self) -> &[Graph] {
        match &self.value {
            AttributeValue::Graph(graph) => std::slice::from_ref(graph),
            AttributeValue::Graphs(graphs) => graphs,
            _ => &[],
        }
    }

    pub(crate) fn graphs_mut(&mut self) -> &mut [Graph] {
        match &mut self.value {
            AttributeValue::Graph(graph) => std::slice::from_mut(graph),
            AttributeValue::Graphs(graphs) => graphs,
            _ => &mut [],
        }
    }

    /// The attribute as a file has it.
    pub fn to_proto(&self) -> AttributeProto {
        let mut proto = AttributeProto {
            name: Some(self.name.clone()),
            doc_string: self.doc_string.clone(),
            ..AttributeProto::default()
        };
        let kind = match &self.value {
            AttributeValue::Other(other) => return (**other).clone(),
            AttributeValue::Float(value) => {
                proto.f = Some(*value);
                1
            }
            AttributeValue::Int(value) => {
                proto.i = Some(*value);
                2
            }
            AttributeValue::String(value) => {
                proto.s = Some(value.clone());
                3
            }
            AttributeValue::Tensor(value) => {
                proto.t = Some(Box::new((**value).clone()));
                4
            }
            AttributeValue::Graph(value) => {
                proto.g = Some(Box::new(value.to_proto()));
                5
            }
            AttributeValue::Floats(values) => {
                proto.floats = values.clone();
                6
            }
            AttributeValue::Ints(values) => {
                proto.ints = values.clone();
                7
            }
            AttributeValue::Strings(values) => {
                proto.strings = values.clone();
                8
            }
            AttributeValue::Tensors(values) => {
                proto.tensors = values.iter().map(|tensor| (**tensor).clone()).collect();
                9
            }
            AttributeValue::Graphs(values) => {
                proto.graphs = values.iter().map(Graph::to_proto).collect();
                10
            }
        };
        proto.r#type = Some(kind);
        proto
    }

    /// Types and sparse tensors that the attribute carries, for those who ask for them.
    pub fn as_type(&self) -> Option<&TypeProto> {
        match &self.value {
            AttributeValue::Other(other) => other.tp.as_deref(),
            _ => None,
        }
    }

    /// The sparse tensor that the attribute carries.
    pub fn as_sparse_tensor(&self) -> Option<&SparseTensorProto> {
        match &self.value {
            AttributeValue::Other(other) => other.sparse_tensor.as_deref(),
            _ => None,
        }
    }
}
