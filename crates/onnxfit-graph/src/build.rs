//! From a decoded file to a graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use onnxfit_onnx::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};

use crate::attribute::{Attribute, AttributeValue};
use crate::check::check;
use crate::error::GraphError;
use crate::graph::{Graph, GraphRest, ValueInfo};
use crate::node::{Node, NodeId, NodeRest};
use crate::types::ValueType;
use crate::value::{Constant, Use, Value, ValueId};

/// Names that a subgraph may capture.
pub(crate) struct Scope<'a> {
    pub(crate) names: &'a dyn Fn(&str) -> bool,
}

impl Graph {
    /// Builds the graph of a model; names that nothing defines are an error.
    pub fn from_proto(proto: &GraphProto) -> Result<Self, GraphError> {
        Self::build(proto, &Scope { names: &|_| false })
    }

    fn build(proto: &GraphProto, outer: &Scope<'_>) -> Result<Self, GraphError> {
        let mut graph = Self { name: proto.name().to_owned(), ..Self::default() };
        let n_outputs: usize = proto.node.iter().map(|node| node.output.len()).sum();
        let n_values = proto.input.len() + proto.initializer.len() + n_outputs;
        graph.names.reserve(n_values);
        graph.values.reserve(n_values);
        graph.nodes.reserve(proto.node.len());
        graph.order.reserve(proto.node.len());
        graph.add_inputs(proto)?;
        graph.add_initializers(proto)?;
        graph.add_nodes(proto, outer)?;
        for output in &proto.output {
            let id = graph.resolve(output.name(), outer).ok_or_else(|| GraphError::UndefinedOutput {
                graph: proto.name().to_owned(),
                value: output.name().to_owned(),
            })?;
            graph.declare(id, output);
            graph.value_mut(id).is_output = true;
            graph.outputs.push(id);
        }
        for info in &proto.value_info {
            match graph.value_named(info.name()) {
                Some(id) if graph.value(id).info.is_none() => {
                    graph.declare(id, info);
                    graph.value_infos.push(ValueInfo::Of(id));
                }
                _ => graph.value_infos.push(ValueInfo::Stray(info.clone())),
            }
        }
        graph.rest = GraphRest {
            doc_string: proto.doc_string.clone(),
            quantization_annotation: proto.quantization_annotation.clone(),
            metadata_props: proto.metadata_props.clone(),
        };
        graph.index_uses();
        check(&graph)?;
        Ok(graph)
    }

    fn add_inputs(&mut self, proto: &GraphProto) -> Result<(), GraphError> {
        for input in &proto.input {
            if self.names.contains(input.name()) {
                return Err(self.defined_twice(input.name(), "an input"));
            }
            let id = self.new_value(input.name());
            self.declare(id, input);
            self.value_mut(id).is_input = true;
            self.inputs.push(id);
        }
        Ok(())
    }

    fn add_initializers(&mut self, proto: &GraphProto) -> Result<(), GraphError> {
        let dense = proto.initializer.iter().map(|tensor| (tensor.name(), Constant::Dense(Arc::new(tensor.clone()))));
        let sparse = proto.sparse_initializer.iter().map(|tensor| {
            let name = tensor.values.as_ref().map_or("", |values| values.name());
            (name, Constant::Sparse(Arc::new(tensor.clone())))
        });
        for (name, constant) in dense.chain(sparse) {
            let id = self.value_named(name).unwrap_or_else(|| self.new_value(name));
            let value = self.value_mut(id);
            if value.constant.is_some() {
                return Err(self.defined_twice(name, "an initializer"));
            }
            value.constant = Some(constant);
            self.initializers.push(id);
        }
        Ok(())
    }

    fn add_nodes(&mut self, proto: &GraphProto, outer: &Scope<'_>) -> Result<(), GraphError> {
        // Outputs first: nodes may stand in any order in the file.
        for (index, node) in proto.node.iter().enumerate() {
            for (output_idx, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let id = match self.value_named(name) {
                    // ONNX Runtime dumps subgraphs with a Constant node and its initializer both.
                    Some(id) if node.op_type() == "Constant" && self.value(id).is_fixed() => id,
                    Some(_) => return Err(self.defined_twice(name, &format!("an output of `{}`", label(node)))),
                    None => self.new_value(name),
                };
                self.value_mut(id).producer = Some((NodeId::new(index), output_idx));
            }
        }
        for (index, node) in proto.node.iter().enumerate() {
            let built = self.build_node(node, outer)?;
            self.nodes.push(Some(Arc::new(built)));
            self.order.push(NodeId::new(index));
        }
        Ok(())
    }

    fn build_node(&mut self, proto: &NodeProto, outer: &Scope<'_>) -> Result<Node, GraphError> {
        let mut inputs = Vec::with_capacity(proto.input.len());
        for name in &proto.input {
            inputs.push(if name.is_empty() { None } else { Some(self.resolve_or_fail(name, proto, outer)?) });
        }
        let outputs = proto.output.iter().map(|name| self.value_named(name).filter(|_| !name.is_empty())).collect();
        let mut attributes = Vec::with_capacity(proto.attribute.len());
        for attribute in &proto.attribute {
            attributes.push(self.build_attribute(attribute, outer)?);
        }
        let captured = captured_names(&attributes);
        let mut implicit_inputs = Vec::with_capacity(captured.len());
        for name in captured {
            implicit_inputs.push(self.resolve_or_fail(&name, proto, outer)?);
        }
        let domain = proto.domain();
        Ok(Node {
            name: proto.name().to_owned(),
            op_type: proto.op_type().to_owned(),
            domain: if domain == "ai.onnx" { String::new() } else { domain.to_owned() },
            inputs,
            outputs,
            attributes,
            implicit_inputs,
            rest: NodeRest {
                name_written: proto.name.is_some(),
                domain_written: proto.domain.clone(),
                overload: proto.overload.clone(),
                doc_string: proto.doc_string.clone(),
                metadata_props: proto.metadata_props.clone(),
                device_configurations: proto.device_configurations.clone(),
            },
        })
    }

    fn build_attribute(&self, proto: &AttributeProto, outer: &Scope<'_>) -> Result<Attribute, GraphError> {
        let names = |name: &str| self.names.contains(name) || (outer.names)(name);
        let scope = Scope { names: &names };
        let other = || AttributeValue::Other(Box::new(proto.clone()));
        // Files of IR version 1 and 2 may leave the type out: the filled field tells.
        let kind = proto.r#type.filter(|kind| *kind != 0).unwrap_or_else(|| guess_type(proto));
        let value = if proto.ref_attr_name.as_ref().is_some_and(|name| !name.is_empty()) {
            other()
        } else {
            match (kind, &proto.t, &proto.g) {
                (1, ..) => AttributeValue::Float(proto.f()),
                (2, ..) => AttributeValue::Int(proto.i()),
                (3, ..) => AttributeValue::String(proto.s.clone().unwrap_or_default()),
                (4, Some(tensor), _) => AttributeValue::Tensor(Arc::new((**tensor).clone())),
                (5, _, Some(graph)) => AttributeValue::Graph(Box::new(Self::build(graph, &scope)?)),
                (6, ..) => AttributeValue::Floats(proto.floats.clone()),
                (7, ..) => AttributeValue::Ints(proto.ints.clone()),
                (8, ..) => AttributeValue::Strings(proto.strings.clone()),
                (9, ..) => AttributeValue::Tensors(proto.tensors.iter().cloned().map(Arc::new).collect()),
                (10, ..) => AttributeValue::Graphs(
                    proto.graphs.iter().map(|graph| Self::build(graph, &scope)).collect::<Result<_, _>>()?,
                ),
                _ => other(),
            }
        };
        Ok(Attribute { name: proto.name().to_owned(), value, doc_string: proto.doc_string.clone() })
    }

    fn resolve_or_fail(&mut self, name: &str, node: &NodeProto, outer: &Scope<'_>) -> Result<ValueId, GraphError> {
        self.resolve(name, outer).ok_or_else(|| GraphError::Undefined {
            graph: self.name.clone(),
            node: label(node).to_owned(),
            op_type: node.op_type().to_owned(),
            value: name.to_owned(),
        })
    }

    fn resolve(&mut self, name: &str, outer: &Scope<'_>) -> Option<ValueId> {
        if let Some(id) = self.value_named(name) {
            return Some(id);
        }
        (outer.names)(name).then(|| {
            let id = self.new_value(name);
            self.value_mut(id).is_captured = true;
            id
        })
    }

    pub(crate) fn new_value(&mut self, name: &str) -> ValueId {
        let id = ValueId::new(self.values.len());
        self.values.push(Arc::new(Value::named(name)));
        self.names.insert(name, id);
        id
    }

    fn declare(&mut self, id: ValueId, info: &ValueInfoProto) {
        let value = self.value_mut(id);
        value.ty = info.r#type.as_ref().map_or(ValueType::Unknown, ValueType::from_proto);
        value.info = Some(info.clone());
    }

    fn defined_twice(&self, name: &str, second: &str) -> GraphError {
        let first = match self.value_named(name).map(|id| self.value(id)) {
            Some(value) if value.is_input => "an input".to_owned(),
            Some(value) if value.constant.is_some() => "an initializer".to_owned(),
            _ => "an output of another node".to_owned(),
        };
        GraphError::DefinedTwice { graph: self.name.clone(), value: name.to_owned(), first, second: second.to_owned() }
    }

    /// Finds every use and definition anew. Values that keep theirs are not touched, so that copies
    /// go on sharing them.
    pub(crate) fn index_uses(&mut self) {
        let n_values = self.values.len();
        let mut ends = vec![0_usize; n_values];
        for (value, _) in readings(&self.order, &self.nodes) {
            ends[value.index()] += 1;
        }
        let mut n_readings = 0;
        for end in &mut ends {
            // Where the list begins for now; filling it moves this to its end.
            n_readings += std::mem::replace(end, n_readings);
        }
        let mut uses = vec![Use { node: NodeId::new(0), input: None }; n_readings];
        for (value, reading) in readings(&self.order, &self.nodes) {
            let end = &mut ends[value.index()];
            uses[*end] = reading;
            *end += 1;
        }
        let mut producers = vec![None; n_values];
        for (id, node) in live(&self.order, &self.nodes) {
            for (output, value) in node.outputs.iter().enumerate() {
                if let Some(value) = value {
                    producers[value.index()] = Some((id, output));
                }
            }
        }
        let mut is_output = vec![false; n_values];
        for output in &self.outputs {
            is_output[output.index()] = true;
        }
        let mut start = 0;
        for (index, value) in self.values.iter_mut().enumerate() {
            let uses = &uses[start..ends[index]];
            start = ends[index];
            let (producer, is_output) = (producers[index], is_output[index]);
            if value.uses != uses || value.producer != producer || value.is_output != is_output {
                let value = Arc::make_mut(value);
                value.uses = uses.to_vec();
                (value.producer, value.is_output) = (producer, is_output);
            }
        }
    }
}

fn live<'a>(order: &'a [NodeId], nodes: &'a [Option<Arc<Node>>]) -> impl Iterator<Item = (NodeId, &'a Node)> {
    order.iter().map(|id| (*id, nodes[id.index()].as_deref().expect("the order holds live nodes")))
}

/// Every reading of a value, in node order.
fn readings<'a>(order: &'a [NodeId], nodes: &'a [Option<Arc<Node>>]) -> impl Iterator<Item = (ValueId, Use)> {
    live(order, nodes).flat_map(|(node, of)| {
        let explicit = of.inputs.iter().enumerate().filter_map(|(input, value)| Some(((*value)?, Some(input))));
        let captured = of.implicit_inputs.iter().map(|value| (*value, None));
        explicit.chain(captured).map(move |(value, input)| (value, Use { node, input }))
    })
}

/// The names that subgraphs among these attributes take from around them, each once.
pub(crate) fn captured_names(attributes: &[Attribute]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut names = Vec::new();
    for graph in attributes.iter().flat_map(Attribute::graphs) {
        for (_, value) in graph.captured().filter(|(_, value)| !value.uses.is_empty() || value.is_output) {
            if seen.insert(value.name.clone(), ()).is_none() {
                names.push(value.name.clone());
            }
        }
    }
    names
}

fn label(node: &NodeProto) -> &str {
    match node.name() {
        "" => node.output.iter().find(|name| !name.is_empty()).map_or("", |name| name),
        name => name,
    }
}

fn guess_type(proto: &AttributeProto) -> i32 {
    match proto {
        AttributeProto { f: Some(_), .. } => 1,
        AttributeProto { i: Some(_), .. } => 2,
        AttributeProto { s: Some(_), .. } => 3,
        AttributeProto { t: Some(_), .. } => 4,
        AttributeProto { g: Some(_), .. } => 5,
        AttributeProto { floats, .. } if !floats.is_empty() => 6,
        AttributeProto { strings, .. } if !strings.is_empty() => 8,
        AttributeProto { tensors, .. } if !tensors.is_empty() => 9,
        AttributeProto { graphs, .. } if !graphs.is_empty() => 10,
        _ => 7,
    }
}
