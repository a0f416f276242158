//! A graph: its nodes in file order, its values, and who uses what.

use std::sync::Arc;

use onnxfit_onnx::proto::{StringStringEntryProto, TensorAnnotation, TensorProto, ValueInfoProto};

use crate::names::Names;
use crate::node::{Node, NodeId};
use crate::value::{Value, ValueId};

/// A graph, or the body of a control-flow operator.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) name: String,
    // A copy shares nodes, values and names until it changes them.
    pub(crate) nodes: Vec<Option<Arc<Node>>>,
    pub(crate) order: Vec<NodeId>,
    pub(crate) values: Vec<Arc<Value>>,
    pub(crate) names: Names,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) initializers: Vec<ValueId>,
    pub(crate) value_infos: Vec<ValueInfo>,
    pub(crate) rest: GraphRest,
}

/// What a graph carries that onnxfit only passes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct GraphRest {
    pub(crate) doc_string: Option<String>,
    pub(crate) quantization_annotation: Vec<TensorAnnotation>,
    pub(crate) metadata_props: Vec<StringStringEntryProto>,
}

/// An entry of the file's `value_info` list.
#[derive(Clone, Debug)]
pub(crate) enum ValueInfo {
    /// The declaration of a value.
    Of(ValueId),
    /// A declaration that belongs to no value, or repeats one.
    Stray(ValueInfoProto),
}

impl Graph {
    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The live nodes with their ids, in file order (which need not be topological).
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|id| (*id, self.node(*id)))
    }

    /// How many live nodes there are.
    pub fn n_nodes(&self) -> usize {
        self.order.len()
    }

    /// The table size that indexes every node id ever handed out.
    pub fn node_capacity(&self) -> usize {
        self.nodes.len()
    }

    /// A live node.
    ///
    /// # Panics
    /// If the node was removed.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.index()].as_deref().expect("only live nodes are looked up")
    }

    /// A node, if it is still there.
    pub fn get_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index()).and_then(Option::as_deref)
    }

    /// All values with their ids, in order of first appearance; removed ones have no producer and
    /// no use.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(index, value)| (ValueId::new(index), value.as_ref()))
    }

    /// How many values there are.
    pub fn n_values(&self) -> usize {
        self.values.len()
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The value of this name.
    pub fn value_named(&self, name: &str) -> Option<ValueId> {
        self.names.get(name)
    }

    /// A value, to be changed.
    pub(crate) fn value_mut(&mut self, id: ValueId) -> &mut Value {
        Arc::make_mut(&mut self.values[id.index()])
    }

    /// The graph's inputs; initializers that are also inputs are among them.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The inputs that a caller must feed: those with no default.
    pub fn required_inputs(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().copied().filter(|id| self.value(*id).constant.is_none())
    }

    /// The graph's outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The initializers, in file order.
    pub fn initializers(&self) -> &[ValueId] {
        &self.initializers
    }

    /// The values captured from the graph around this one.
    pub fn captured(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values().filter(|(_, value)| value.is_captured)
    }

    /// The node that makes a value.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, &Node)> {
        self.value(id).producer.map(|(node, _)| (node, self.node(node)))
    }

    /// The fixed tensor behind a value: an initializer, or the `value` of a `Constant` node.
    pub fn constant_tensor(&self, id: ValueId) -> Option<&Arc<TensorProto>> {
        let value = self.value(id);
        if value.is_input {
            return None;
        }
        value.tensor().or_else(|| {
            let (_, node) = self.producer(id)?;
            if node.is("Constant") { node.tensor("value") } else { None }
        })
    }

    /// A name for a node in messages: its own, or that of its first output.
    pub fn node_label(&self, id: NodeId) -> &str {
        let node = self.node(id);
        if !node.name.is_empty() {
            return &node.name;
        }
        node.outputs.iter().flatten().next().map_or("", |value| &self.value(*value).name)
    }
}
