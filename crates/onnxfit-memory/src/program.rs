//! What the twin needs of one graph: nodes, values and devices, as the session that runs it has them.
//!
//! Constants are weights and not nodes; every value of a graph has one index, and subgraphs are
//! programs of their own that name the outer values they capture.

mod attributes;
mod name;

use std::collections::BTreeMap;
use std::sync::Arc;

use onnxfit_base::{Bytes, typed_id};
use onnxfit_onnx::DataType;

use crate::sizes::TensorSize;

pub use attributes::Attributes;
pub use name::Name;
pub(crate) use name::{NameWriter, Names, Written};

typed_id! {
    /// A value of one program.
    ValueIdx
}
typed_id! {
    /// A node of one program: its position in the file, constants not counted.
    NodeIdx
}

/// One graph as a session runs it.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Every value, in the order of first mention.
    pub values: Vec<Value>,
    /// Nodes in file order.
    pub nodes: Vec<Node>,
    /// Graph inputs that the caller feeds.
    pub inputs: Vec<ValueIdx>,
    /// Values of an enclosing graph that this one reads.
    pub captured: Vec<Capture>,
    /// Weights, in file order; `Constant` nodes are among them.
    pub weights: Vec<Weight>,
    /// Graph outputs in order; one value may be there twice.
    pub outputs: Vec<ValueIdx>,
}

/// A value that a subgraph takes from the graph around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The value in this program.
    pub inner: ValueIdx,
    /// The name in the enclosing graph.
    pub name: Name,
}

/// A tensor that exists before the first run.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The value that it fills.
    pub value: ValueIdx,
    /// Its type and dimensions; `None` for what is no dense tensor.
    pub size: Option<TensorSize>,
    /// Its bytes in memory.
    pub bytes: Bytes,
    /// Whether its bytes lie in a file of their own.
    pub external: bool,
    /// Whether the caller may feed it, so that nothing may be derived from it at load.
    pub overridable: bool,
    /// Equal for weights of equal contents, as far as can be seen without reading them whole.
    pub identity: u64,
    /// The contents, if they are few numbers: shapes are made from them.
    pub values: Option<WeightValues>,
}

/// The contents of a small weight.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightValues {
    /// Integers of any width.
    Integers(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
}

/// One value: what is known about it before any shape is bound.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// The name in the model.
    pub name: Name,
    /// The element type, where known.
    pub element: Option<DataType>,
    /// Whether it is a tensor; sequences and maps are not.
    pub is_tensor: bool,
    /// The shape the runtime itself knows at load; the planner compares these.
    pub declared: Option<Vec<DeclaredDim>>,
    /// Its contents as far as the runtime knows them at load (shapes on their way to a reshape).
    pub known_integers: Option<KnownIntegers>,
    /// The value that this one is a copy of, on the other device.
    pub copy_of: Option<ValueIdx>,
}

/// Contents of a small integer tensor as known at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownIntegers {
    /// Whether the tensor has rank zero.
    pub is_scalar: bool,
    /// Element by element.
    pub elements: Vec<i64>,
}

/// A dimension as the runtime knows it at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredDim {
    /// A number.
    Value(u64),
    /// A name; equal names are equal sizes.
    Symbol(Arc<str>),
    /// Nothing; equal to no other dimension, not even to itself.
    Unknown,
}

/// An attribute as far as memory depends on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A text.
    Text(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// A tensor of this element type.
    Tensor(Option<DataType>),
    /// Anything else.
    Other,
}

/// One node.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The name in the model; may be empty.
    pub name: Name,
    /// The operator.
    pub op_type: Name,
    /// The operator's domain; the standard one is empty.
    pub domain: Name,
    /// The opset of the domain that the model imports.
    pub opset: i64,
    /// Inputs by position; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueIdx>>,
    /// Values that its subgraphs read.
    pub implicit_inputs: Vec<ValueIdx>,
    /// Outputs by position; `None` where an optional one is left out.
    pub outputs: Vec<Option<ValueIdx>>,
    /// Attributes other than graphs.
    pub attributes: Attributes,
    /// Graph attributes.
    pub subgraphs: BTreeMap<String, Program>,
    /// Who runs it.
    pub provider: NodeProvider,
    /// The index that the runtime gives it; orders follow from these.
    pub runtime_index: usize,
}

/// The execution provider that runs a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeProvider {
    /// `CPUExecutionProvider`.
    #[default]
    Cpu,
    /// `CUDAExecutionProvider`.
    Cuda,
}

/// The memory that holds a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Host memory, the session's CPU arena.
    #[default]
    Host,
    /// The CUDA device arena.
    Device,
    /// Page-locked host memory, the `CudaPinned` arena.
    Pinned,
}

impl Program {
    /// The value at an index.
    pub fn value(&self, value: ValueIdx) -> &Value {
        &self.values[value.index()]
    }

    /// The node at an index.
    pub fn node(&self, node: NodeIdx) -> &Node {
        &self.nodes[node.index()]
    }

    /// The indices of all nodes in file order.
    pub fn node_indices(&self) -> impl Iterator<Item = NodeIdx> + use<> {
        (0..self.nodes.len()).map(NodeIdx::new)
    }

    /// For each value, the node that computes it.
    pub fn producers(&self) -> Vec<Option<NodeIdx>> {
        let mut producers = vec![None; self.values.len()];
        for node in self.node_indices() {
            for output in self.node(node).present_outputs() {
                producers[output.index()] = Some(node);
            }
        }
        producers
    }

    /// For each value, whether it is a weight.
    pub fn weight_flags(&self) -> Vec<bool> {
        let mut flags = vec![false; self.values.len()];
        for weight in &self.weights {
            flags[weight.value.index()] = true;
        }
        flags
    }
}

impl Node {
    /// Inputs that are there, captured values after explicit ones, repeats kept.
    pub fn reads(&self) -> impl Iterator<Item = ValueIdx> + '_ {
        self.inputs.iter().flatten().chain(&self.implicit_inputs).copied()
    }

    /// Outputs that are there.
    pub fn present_outputs(&self) -> impl Iterator<Item = ValueIdx> + '_ {
        self.outputs.iter().flatten().copied()
    }

    /// The input at a position, if there.
    pub fn input(&self, position: usize) -> Option<ValueIdx> {
        self.inputs.get(position).copied().flatten()
    }

    /// The output at a position, if there.
    pub fn output(&self, position: usize) -> Option<ValueIdx> {
        self.outputs.get(position).copied().flatten()
    }

    /// An integer attribute, or its default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A list of integers; empty when absent.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => values,
            _ => &[],
        }
    }

    /// A text attribute, or its default.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        match self.attributes.get(name) {
            Some(Attribute::Text(value)) => value,
            _ => default,
        }
    }

    /// `domain:op_type`, or the operator alone in the standard domain.
    pub fn operator(&self) -> String {
        if self.domain.is_empty() { self.op_type.to_string() } else { format!("{}:{}", self.domain, self.op_type) }
    }
}

/// Bytes that the runtime keeps for one element; packed types share bytes.
pub fn tensor_bytes(element: DataType, n_elements: u64) -> Option<u64> {
    match element {
        // sizeof(std::string) of the 64-bit Linux builds.
        DataType::String => n_elements.checked_mul(32),
        _ => element.packed_bytes(n_elements),
    }
}
