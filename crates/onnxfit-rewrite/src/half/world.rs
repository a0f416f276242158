//! A model with all its bodies laid side by side, so that one number names a value or a node
//! wherever it is.
//!
//! A captured value has a number of its own in the body that captures it, and a `definition` that
//! leads to where it is made.

use std::sync::Arc;

use onnxfit_graph::{AttributeValue, Graph, Model, Node, NodeId, Value, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::operators::{Signature, signature};

/// One graph of the model.
pub(super) struct Scope<'m> {
    pub(super) graph: &'m Graph,
    /// The node around it, with the attribute and the place in it; `None` for the main graph.
    pub(super) parent: Option<Parent<'m>>,
    first_value: usize,
    first_node: usize,
}

/// Where a body hangs.
pub(super) struct Parent<'m> {
    pub(super) scope: usize,
    pub(super) node: NodeId,
    pub(super) attribute: &'m str,
    pub(super) index: usize,
}

/// All graphs of a model; the main one comes first, a body after the graph around it.
pub(super) struct World<'m> {
    pub(super) model: &'m Model,
    pub(super) scopes: Vec<Scope<'m>>,
    /// By value: the scope it is in.
    scope_of_value: Vec<usize>,
    /// By value: the value that it is a captured name of, or itself.
    pub(super) definition: Vec<usize>,
    /// By value: whether a body captures it. Only said of definitions.
    pub(super) is_captured: Vec<bool>,
    nodes: Vec<Option<(usize, NodeId)>>,
}

impl<'m> World<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let mut world = Self {
            model,
            scopes: Vec::new(),
            scope_of_value: Vec::new(),
            definition: Vec::new(),
            is_captured: Vec::new(),
            nodes: Vec::new(),
        };
        world.add_scope(&model.graph, None);
        let mut next = 0;
        while next < world.scopes.len() {
            let graph = world.scopes[next].graph;
            for (id, node) in graph.nodes() {
                for attribute in &node.attributes {
                    for (index, body) in attribute.graphs().iter().enumerate() {
                        let parent = Parent { scope: next, node: id, attribute: &attribute.name, index };
                        world.add_scope(body, Some(parent));
                    }
                }
            }
            next += 1;
        }
        world
    }

    fn add_scope(&mut self, graph: &'m Graph, parent: Option<Parent<'m>>) {
        let scope = self.scopes.len();
        let (first_value, first_node) = (self.definition.len(), self.nodes.len());
        for (id, value) in graph.values() {
            let own = first_value + id.index();
            let mut definition = own;
            if let Some(parent) = parent.as_ref().filter(|_| value.is_captured) {
                let around = &self.scopes[parent.scope];
                if let Some(outer) = around.graph.value_named(&value.name) {
                    definition = self.definition[around.first_value + outer.index()];
                    self.is_captured[definition] = true;
                }
            }
            self.definition.push(definition);
            self.is_captured.push(false);
            self.scope_of_value.push(scope);
        }
        self.nodes.resize(first_node + graph.node_capacity(), None);
        for (id, _) in graph.nodes() {
            self.nodes[first_node + id.index()] = Some((scope, id));
        }
        self.scopes.push(Scope { graph, parent, first_value, first_node });
    }

    pub(super) fn n_values(&self) -> usize {
        self.definition.len()
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The number of a value of a scope.
    pub(super) fn value(&self, scope: usize, id: ValueId) -> usize {
        self.scopes[scope].first_value + id.index()
    }

    /// Where a value is.
    pub(super) fn place(&self, value: usize) -> (usize, ValueId) {
        let scope = self.scope_of_value[value];
        (scope, ValueId::new(value - self.scopes[scope].first_value))
    }

    /// What the graph says of a value.
    pub(super) fn get(&self, value: usize) -> &'m Value {
        let (scope, id) = self.place(value);
        self.scopes[scope].graph.value(id)
    }

    /// The number of a node of a scope.
    pub(super) fn node_number(&self, scope: usize, id: NodeId) -> usize {
        self.scopes[scope].first_node + id.index()
    }

    /// A node by number; `None` for a number that no node has.
    pub(super) fn node(&self, number: usize) -> Option<(usize, NodeId, &'m Node)> {
        let (scope, id) = self.nodes[number]?;
        Some((scope, id, self.scopes[scope].graph.node(id)))
    }

    /// All nodes: number, scope and the node itself.
    pub(super) fn all_nodes(&self) -> impl Iterator<Item = (usize, usize, &'m Node)> {
        (0..self.nodes.len()).filter_map(|number| self.node(number).map(|(scope, _, node)| (number, scope, node)))
    }

    /// A node's name for messages.
    pub(super) fn label(&self, number: usize) -> String {
        self.nodes[number].map_or_else(String::new, |(scope, id)| self.scopes[scope].graph.node_label(id).to_owned())
    }

    /// The number of the node that makes a value, following captures.
    pub(super) fn producer(&self, value: usize) -> Option<(usize, usize)> {
        let definition = self.definition[value];
        let (scope, id) = self.place(definition);
        let (node, output) = self.scopes[scope].graph.value(id).producer?;
        Some((self.node_number(scope, node), output))
    }

    /// The body under an attribute of a node, by scope.
    pub(super) fn body(&self, scope: usize, node: NodeId, attribute: &str) -> Option<usize> {
        self.scopes.iter().enumerate().skip(scope + 1).find_map(|(index, candidate)| {
            let parent = candidate.parent.as_ref()?;
            (parent.scope == scope && parent.node == node && parent.attribute == attribute && parent.index == 0)
                .then_some(index)
        })
    }

    /// The operator's float signature in this model.
    pub(super) fn signature(&self, node: &Node) -> Option<&'static Signature> {
        signature(&node.domain, &node.op_type, self.model.opset(&node.domain))
    }

    /// The dense tensor that a value always holds, whether an initializer or a `Constant` node;
    /// initializers that are inputs as well are not fixed.
    pub(super) fn fixed_tensor(&self, value: usize) -> Option<Arc<TensorProto>> {
        let definition = self.definition[value];
        let content = self.get(definition);
        if content.is_input {
            return None;
        }
        if let Some(tensor) = content.tensor() {
            return Some(tensor.clone());
        }
        let (number, _) = self.producer(definition)?;
        let (_, _, node) = self.node(number)?;
        constant_node_tensor(node)
    }

    /// The declared element type.
    pub(super) fn declared(&self, value: usize) -> &'m ValueType {
        &self.get(self.definition[value]).ty
    }
}

/// The content of a `Constant` node, if it is a dense tensor of numbers.
pub(super) fn constant_node_tensor(node: &Node) -> Option<Arc<TensorProto>> {
    if !node.is("Constant") {
        return None;
    }
    let scalar = |tensor| Some(Arc::new(tensor));
    node.attributes.iter().find_map(|attribute| match (attribute.name.as_str(), &attribute.value) {
        ("value", AttributeValue::Tensor(tensor)) => Some(tensor.clone()),
        ("value_float", AttributeValue::Float(number)) => scalar(TensorProto::from_f32("", &[], &[*number])),
        ("value_floats", AttributeValue::Floats(numbers)) => {
            scalar(TensorProto::from_f32("", &[numbers.len() as i64], numbers))
        }
        ("value_int", AttributeValue::Int(number)) => scalar(TensorProto::from_i64("", &[], &[*number])),
        ("value_ints", AttributeValue::Ints(numbers)) => {
            scalar(TensorProto::from_i64("", &[numbers.len() as i64], numbers))
        }
        _ => None,
    })
}

/// The element type of a declared type; containers are no tensors.
pub(super) fn declared_element(ty: &ValueType) -> Option<Declared> {
    match ty {
        ValueType::Tensor(tensor) => tensor.element_type.map(Declared::Tensor),
        ValueType::Unknown => None,
        ValueType::Sequence(inner) | ValueType::Optional(inner) => {
            Some(Declared::Container(match declared_element(inner) {
                Some(Declared::Tensor(inner)) => Some(inner),
                Some(Declared::Container(inner)) => inner,
                None => None,
            }))
        }
        _ => Some(Declared::Container(None)),
    }
}

/// See [`declared_element`].
pub(super) enum Declared {
    /// A dense tensor of this type.
    Tensor(DataType),
    /// A sequence or an optional of these, a map or a sparse tensor.
    Container(Option<DataType>),
}
