//! A graph under construction: nodes are appended in order, each distinct computation once.
//!
//! [`Var`] is a value of the tape. Emitting a node whose operator, inputs and attributes equal an
//! earlier one's gives the earlier one's outputs, so rules may ask for `Shape(x)` as often as they
//! like. Constants are shared in the same way.

use std::collections::BTreeMap;

use onnxfit_graph::Graph;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use prost::Message;

use crate::order::deepest_leaves_first;

/// A value of the graph under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Var(usize);

/// A graph under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape {
    pub(crate) nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    names: Vec<String>,
    by_name: BTreeMap<String, Var>,
    /// Which node makes a value, and at which output.
    producers: BTreeMap<Var, (usize, usize)>,
    made: BTreeMap<Vec<u8>, Vec<Var>>,
    constants: BTreeMap<Vec<u8>, Var>,
    scope: String,
}

impl Tape {
    /// The value of this name, made known if it is new.
    pub(crate) fn named(&mut self, name: &str) -> Var {
        if let Some(var) = self.by_name.get(name) {
            return *var;
        }
        let var = Var(self.names.len());
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), var);
        var
    }

    /// A value's name.
    pub(crate) fn name(&self, var: Var) -> &str {
        &self.names[var.0]
    }

    /// What the names of new values begin with.
    pub(crate) fn set_scope(&mut self, scope: &str) {
        self.scope = scope.to_owned();
    }

    /// A value of a new name.
    pub(crate) fn fresh(&mut self, hint: &str) -> Var {
        let stem = if self.scope.is_empty() { hint.to_owned() } else { format!("{}/{hint}", self.scope) };
        let name = self.unique(&stem);
        self.named(&name)
    }

    fn unique(&self, stem: &str) -> String {
        let mut name = stem.to_owned();
        let mut n = 1;
        while self.by_name.contains_key(&name) {
            n += 1;
            name = format!("{stem}_{n}");
        }
        name
    }

    /// Appends a node as it is.
    pub(crate) fn push(&mut self, node: NodeProto) {
        for (slot, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let var = self.named(name);
            self.producers.insert(var, (self.nodes.len(), slot));
        }
        self.nodes.push(node);
    }

    /// Appends a constant under its own name.
    pub(crate) fn push_initializer(&mut self, tensor: TensorProto) -> Var {
        let var = self.named(tensor.name());
        self.initializers.push(tensor);
        var
    }

    /// A node of ONNX's own domain; `None` inputs are left out.
    pub(crate) fn emit(
        &mut self,
        op_type: &str,
        inputs: &[Option<Var>],
        attributes: Vec<AttributeProto>,
        n_outputs: usize,
    ) -> Vec<Var> {
        let mut node = NodeProto {
            input: inputs.iter().map(|var| var.map_or_else(String::new, |var| self.names[var.0].clone())).collect(),
            op_type: Some(op_type.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        };
        let mut key = node.encode_to_vec();
        key.push(n_outputs as u8);
        if let Some(vars) = self.made.get(&key) {
            return vars.clone();
        }
        let vars: Vec<Var> = (0..n_outputs).map(|_| self.fresh(op_type)).collect();
        node.output = vars.iter().map(|var| self.names[var.0].clone()).collect();
        node.name = node.output.first().cloned();
        self.push(node);
        self.made.insert(key, vars.clone());
        vars
    }

    /// A node with one output.
    pub(crate) fn op_with(&mut self, op_type: &str, inputs: &[Var], attributes: Vec<AttributeProto>) -> Var {
        let inputs: Vec<Option<Var>> = inputs.iter().copied().map(Some).collect();
        self.emit(op_type, &inputs, attributes, 1)[0]
    }

    /// A node with one output and no attributes.
    pub(crate) fn op(&mut self, op_type: &str, inputs: &[Var]) -> Var {
        self.op_with(op_type, inputs, Vec::new())
    }

    /// Another output of the node that makes `of`; the same one when asked again.
    pub(crate) fn extra_output(&mut self, of: Var, slot: usize) -> Option<Var> {
        let (node, _) = *self.producers.get(&of)?;
        if let Some(name) = self.nodes[node].output.get(slot).filter(|name| !name.is_empty()) {
            let name = name.clone();
            return Some(self.named(&name));
        }
        let var = self.fresh(&format!("output{slot}"));
        let name = self.names[var.0].clone();
        let outputs = &mut self.nodes[node].output;
        outputs.resize(outputs.len().max(slot + 1), String::new());
        outputs[slot] = name;
        self.producers.insert(var, (node, slot));
        Some(var)
    }

    /// Whether a node of the tape makes the value.
    pub(crate) fn is_made(&self, var: Var) -> bool {
        self.producers.contains_key(&var)
    }

    /// Gives values other names; the last thing done to a tape.
    pub(crate) fn rename(&mut self, renamed: &BTreeMap<String, String>) {
        for node in &mut self.nodes {
            for name in node.input.iter_mut().chain(&mut node.output) {
                if let Some(new) = renamed.get(name) {
                    name.clone_from(new);
                }
            }
        }
    }

    /// A constant, shared with equal ones.
    pub(crate) fn constant(&mut self, mut tensor: TensorProto) -> Var {
        tensor.name = None;
        let key = tensor.encode_to_vec();
        if let Some(var) = self.constants.get(&key) {
            return *var;
        }
        let name = self.unique(&format!("constant/{}", self.constants.len()));
        let var = self.named(&name);
        tensor.name = Some(name);
        self.initializers.push(tensor);
        self.constants.insert(key, var);
        var
    }

    /// A vector of whole numbers: axes, sizes.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Var {
        self.constant(TensorProto::from_i64("", &[values.len() as i64], values))
    }

    /// One whole number.
    pub(crate) fn int(&mut self, value: i64) -> Var {
        self.constant(TensorProto::from_i64("", &[], &[value]))
    }

    /// One number of an element type.
    pub(crate) fn number(&mut self, element_type: DataType, value: f64) -> Var {
        self.numbers(element_type, &[], &[value])
    }

    /// Numbers of an element type.
    pub(crate) fn numbers(&mut self, element_type: DataType, dims: &[i64], values: &[f64]) -> Var {
        let tensor = tensor_of(element_type, dims, values);
        self.constant(tensor)
    }

    /// A tape that goes on where a graph ends.
    pub(crate) fn after(graph: &Graph) -> Self {
        let mut tape = Self::default();
        graph.values().for_each(|(_, value)| {
            tape.named(&value.name);
        });
        tape
    }

    /// Adds what was written to the graph that it goes on from.
    pub(crate) fn append_to(self, graph: &mut GraphProto) {
        graph.node.extend(self.nodes);
        graph.initializer.extend(self.initializers);
    }

    /// The finished graph; constants and nodes that no output needs are left out.
    pub(crate) fn into_graph(
        mut self,
        name: &str,
        input: Vec<ValueInfoProto>,
        output: Vec<ValueInfoProto>,
    ) -> GraphProto {
        self.drop_dead(&output);
        deepest_leaves_first(&mut self.nodes);
        GraphProto {
            node: self.nodes,
            name: Some(name.to_owned()),
            initializer: self.initializers,
            input,
            output,
            ..GraphProto::default()
        }
    }

    fn drop_dead(&mut self, output: &[ValueInfoProto]) {
        let mut live: std::collections::BTreeSet<String> = output.iter().map(|info| info.name().to_owned()).collect();
        let mut kept = Vec::new();
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.output.iter().any(|name| live.contains(name)) {
                live.extend(node.input.iter().cloned());
                node.attribute.iter().for_each(|attribute| read_by_subgraphs(attribute, &mut live));
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.initializers.retain(|tensor| live.contains(tensor.name()));
        self.producers.clear();
    }
}

/// Everything that the graphs inside an attribute read; more than they capture, never less.
fn read_by_subgraphs(attribute: &AttributeProto, live: &mut std::collections::BTreeSet<String>) {
    for graph in attribute.g.iter().map(|graph| &**graph).chain(&attribute.graphs) {
        live.extend(graph.output.iter().map(|info| info.name().to_owned()));
        for node in &graph.node {
            live.extend(node.input.iter().cloned());
            node.attribute.iter().for_each(|inner| read_by_subgraphs(inner, live));
        }
    }
}

/// A tensor of numbers; whole-number types round towards zero.
pub(crate) fn tensor_of(element_type: DataType, dims: &[i64], values: &[f64]) -> TensorProto {
    let mut raw: Vec<u8> = Vec::with_capacity(values.len() * 8);
    for value in values {
        match element_type {
            DataType::Double => raw.extend(value.to_le_bytes()),
            DataType::Float16 => raw.extend(half::f16::from_f64(*value).to_le_bytes()),
            DataType::Bfloat16 => raw.extend(half::bf16::from_f64(*value).to_le_bytes()),
            DataType::Int64 => raw.extend((*value as i64).to_le_bytes()),
            DataType::Int32 => raw.extend((*value as i32).to_le_bytes()),
            DataType::Bool => raw.push(u8::from(*value != 0.0)),
            _ => raw.extend((*value as f32).to_le_bytes()),
        }
    }
    let element_type = match element_type {
        DataType::Double
        | DataType::Float16
        | DataType::Bfloat16
        | DataType::Int64
        | DataType::Int32
        | DataType::Bool => element_type,
        _ => DataType::Float,
    };
    TensorProto::from_raw("", element_type, dims, raw)
}
