//! Operators that the model defines itself.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Graph, Node};
use onnxfit_onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, ValueInfoProto};

use crate::context::RuleContext;
use crate::engine::run_graph;
use crate::fact::Fact;

/// Infers a call of one of the model's own functions through its body; `None` if there is no such
/// function.
pub(crate) fn run_function(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let model = context.state.model;
    let Node { domain, op_type, .. } = context.node;
    let is_called = |function: &&FunctionProto| {
        let own = if function.domain() == "ai.onnx" { "" } else { function.domain() };
        own == domain && function.name() == op_type
    };
    let function = model.functions().iter().find(is_called)?;
    let body = instantiate(function, context.node);
    let Ok(graph) = Graph::from_proto(&body) else { return Some(()) };
    if !context.state.enter() {
        return Some(());
    }
    let present = (0..function.input.len()).filter_map(|index| context.input(index).cloned());
    let inputs: Vec<Fact> = present.collect();
    let mut opsets: BTreeMap<String, i64> = context.opsets.clone();
    for import in &function.opset_import {
        let domain = if import.domain() == "ai.onnx" { "" } else { import.domain() };
        opsets.insert(domain.to_owned(), import.version());
    }
    let path_length = context.state.path.len();
    let step = format!("{}/", context.label());
    context.state.path.push_str(&step);
    let facts = run_graph(context.state, &graph, &inputs, None, &opsets);
    context.state.path.truncate(path_length);
    context.state.leave();
    for (index, output) in graph.outputs().iter().enumerate() {
        context.set_fact(index, facts.fact(*output).clone());
    }
    Some(())
}

/// The body as a graph of its own: left-out inputs are left out inside too, and attributes that
/// refer to the call's are replaced by them.
fn instantiate(function: &FunctionProto, call: &Node) -> GraphProto {
    let absent: BTreeSet<&str> = function
        .input
        .iter()
        .enumerate()
        .filter(|(index, _)| call.input(*index).is_none())
        .map(|(_, name)| name.as_str())
        .collect();
    let mut given: BTreeMap<String, AttributeProto> =
        function.attribute_proto.iter().map(|attribute| (attribute.name().to_owned(), attribute.clone())).collect();
    given.extend(call.attributes.iter().map(|attribute| (attribute.name.clone(), attribute.to_proto())));
    let info = |name: &String| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() };
    GraphProto {
        name: function.name.clone(),
        input: function.input.iter().filter(|name| !absent.contains(name.as_str())).map(info).collect(),
        output: function.output.iter().map(info).collect(),
        node: function.node.iter().map(|node| fill(node, &given, &absent)).collect(),
        value_info: function.value_info.clone(),
        ..GraphProto::default()
    }
}

fn fill(node: &NodeProto, given: &BTreeMap<String, AttributeProto>, absent: &BTreeSet<&str>) -> NodeProto {
    let mut node = node.clone();
    for input in &mut node.input {
        if absent.contains(input.as_str()) {
            input.clear();
        }
    }
    let mut attributes = Vec::with_capacity(node.attribute.len());
    for mut attribute in std::mem::take(&mut node.attribute) {
        match attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) {
            Some(reference) => {
                if let Some(actual) = given.get(reference) {
                    attributes.push(AttributeProto { name: attribute.name, ..actual.clone() });
                }
            }
            None => {
                if let Some(graph) = &mut attribute.g {
                    graph.node = graph.node.iter().map(|inner| fill(inner, given, absent)).collect();
                }
                attributes.push(attribute);
            }
        }
    }
    node.attribute = attributes;
    node
}
