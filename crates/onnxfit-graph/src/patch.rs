//! A change to a graph, as a value: made first, applied later, all or nothing.

use onnxfit_onnx::proto::TensorProto;

use crate::attribute::AttributeValue;
use crate::graph::Graph;
use crate::node::NodeId;
use crate::types::ValueType;
use crate::value::ValueId;

/// Where a new node goes in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Just before a node.
    Before(NodeId),
    /// Just after a node.
    After(NodeId),
    /// Before all.
    Start,
    /// After all.
    End,
}

/// A node to be added.
#[derive(Clone, Debug, Default)]
pub struct NewNode {
    /// Its name; made unique when it is taken.
    pub name: String,
    /// The operator.
    pub op_type: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// What it reads.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes.
    pub outputs: Vec<Option<ValueId>>,
    /// Its attributes; subgraphs come by [`Patch::set_attribute`] as built graphs.
    pub attributes: Vec<(String, AttributeValue)>,
}

impl NewNode {
    /// A node of ONNX's own domain with all inputs and outputs present.
    pub fn new(op_type: &str, name: &str, inputs: &[ValueId], outputs: &[ValueId]) -> Self {
        Self {
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: outputs.iter().copied().map(Some).collect(),
            ..Self::default()
        }
    }

    /// The same node with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.attributes.push((name.to_owned(), value));
        self
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    AddValue { name: String, ty: ValueType },
    AddInitializer { tensor: TensorProto },
    AddInput { name: String, ty: ValueType },
    SetInitializer { value: ValueId, tensor: TensorProto },
    RemoveInitializer { value: ValueId },
    AddNode { place: Place, node: NewNode },
    RemoveNode { node: NodeId },
    SetInput { node: NodeId, input: usize, value: Option<ValueId> },
    SetOutput { node: NodeId, output: usize, value: Option<ValueId> },
    ReplaceUses { from: ValueId, to: ValueId },
    ReplaceGraphOutput { from: ValueId, to: ValueId },
    RenameValue { value: ValueId, name: String },
    SetType { value: ValueId, ty: ValueType },
    SetAttribute { node: NodeId, name: String, value: AttributeValue },
    RemoveAttribute { node: NodeId, name: String },
    SetOperator { node: NodeId, domain: String, op_type: String },
    Subgraph { node: NodeId, attribute: String, index: usize, patch: Box<Patch> },
}

/// A change to one graph. Ids that it hands out become real when it is applied.
#[derive(Clone, Debug)]
pub struct Patch {
    pub(crate) name: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) base_values: usize,
    pub(crate) base_nodes: usize,
    next_value: usize,
    next_node: usize,
}

impl Patch {
    /// An empty change to `graph`, with a name for messages.
    pub fn new(graph: &Graph, name: &str) -> Self {
        let (n_values, n_nodes) = (graph.n_values(), graph.node_capacity());
        Self {
            name: name.to_owned(),
            edits: Vec::new(),
            base_values: n_values,
            base_nodes: n_nodes,
            next_value: n_values,
            next_node: n_nodes,
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// How many single edits it holds.
    pub fn n_edits(&self) -> usize {
        self.edits.len()
    }

    fn value_id(&mut self) -> ValueId {
        self.next_value += 1;
        ValueId::new(self.next_value - 1)
    }

    /// A new value; its name is made unique when it is taken.
    pub fn add_value(&mut self, name: &str, ty: ValueType) -> ValueId {
        self.edits.push(Edit::AddValue { name: name.to_owned(), ty });
        self.value_id()
    }

    /// A new initializer, named as the tensor; the name is made unique when it is taken.
    pub fn add_initializer(&mut self, tensor: TensorProto) -> ValueId {
        self.edits.push(Edit::AddInitializer { tensor });
        self.value_id()
    }

    /// A new graph input, after the others.
    pub fn add_input(&mut self, name: &str, ty: ValueType) -> ValueId {
        self.edits.push(Edit::AddInput { name: name.to_owned(), ty });
        self.value_id()
    }

    /// Another content for an initializer; the tensor takes the value's name.
    pub fn set_initializer(&mut self, value: ValueId, tensor: TensorProto) {
        self.edits.push(Edit::SetInitializer { value, tensor });
    }

    /// Drops an initializer; nobody may read it any more, unless it is an input too.
    pub fn remove_initializer(&mut self, value: ValueId) {
        self.edits.push(Edit::RemoveInitializer { value });
    }

    /// A new node.
    pub fn add_node(&mut self, place: Place, node: NewNode) -> NodeId {
        self.edits.push(Edit::AddNode { place, node });
        self.next_node += 1;
        NodeId::new(self.next_node - 1)
    }

    /// Drops a node; its outputs may be read no more, or must get another producer.
    pub fn remove_node(&mut self, node: NodeId) {
        self.edits.push(Edit::RemoveNode { node });
    }

    /// What a node reads at one input.
    pub fn set_input(&mut self, node: NodeId, input: usize, value: Option<ValueId>) {
        self.edits.push(Edit::SetInput { node, input, value });
    }

    /// What a node makes at one output.
    pub fn set_output(&mut self, node: NodeId, output: usize, value: Option<ValueId>) {
        self.edits.push(Edit::SetOutput { node, output, value });
    }

    /// Lets all who read `from` read `to`, subgraphs that capture it too; graph outputs stay.
    /// Nodes that this patch adds later are not touched.
    pub fn replace_uses(&mut self, from: ValueId, to: ValueId) {
        self.edits.push(Edit::ReplaceUses { from, to });
    }

    /// Lets the graph output that is `from` be `to`; the names stay with their values.
    pub fn replace_graph_output(&mut self, from: ValueId, to: ValueId) {
        self.edits.push(Edit::ReplaceGraphOutput { from, to });
    }

    /// Another name for a value, in subgraphs that capture it too.
    pub fn rename_value(&mut self, value: ValueId, name: &str) {
        self.edits.push(Edit::RenameValue { value, name: name.to_owned() });
    }

    /// Another declared type.
    pub fn set_type(&mut self, value: ValueId, ty: ValueType) {
        self.edits.push(Edit::SetType { value, ty });
    }

    /// An attribute, new or replaced.
    pub fn set_attribute(&mut self, node: NodeId, name: &str, value: AttributeValue) {
        self.edits.push(Edit::SetAttribute { node, name: name.to_owned(), value });
    }

    /// Drops an attribute.
    pub fn remove_attribute(&mut self, node: NodeId, name: &str) {
        self.edits.push(Edit::RemoveAttribute { node, name: name.to_owned() });
    }

    /// Another operator for a node.
    pub fn set_operator(&mut self, node: NodeId, domain: &str, op_type: &str) {
        self.edits.push(Edit::SetOperator { node, domain: domain.to_owned(), op_type: op_type.to_owned() });
    }

    /// A change to a subgraph: the `index`-th graph of an attribute.
    pub fn subgraph(&mut self, node: NodeId, attribute: &str, index: usize, patch: Patch) {
        self.edits.push(Edit::Subgraph { node, attribute: attribute.to_owned(), index, patch: Box::new(patch) });
    }
}
