//! Puts the bodies of local functions where they are called, as ONNX Runtime does when it loads
//! a model.
//!
//! Exact: the same operators run on the same numbers. References to attributes are resolved,
//! functions that call functions too; every name inside gets the call's own prefix.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto};

use crate::{Exactness, RewriteError};

/// What this change does to the answers.
pub const EXACTNESS: Exactness = Exactness::Exact;

/// Nodes after inlining; a few calls inside one another can make any number of them.
const N_NODES_MAX: usize = 1 << 20;
/// Calls inside one another.
const DEPTH_MAX: usize = 64;

/// The model without local functions; `None` if it has none.
pub fn inline_functions(model: &Model) -> Result<Option<Model>, RewriteError> {
    if model.functions().is_empty() {
        return Ok(None);
    }
    let mut proto = model.to_proto();
    let functions = std::mem::take(&mut proto.functions);
    let mut graph = proto.graph.take().unwrap_or_default();
    let mut inliner = Inliner {
        functions: functions
            .iter()
            .map(|function| (key(function.domain(), function.name(), function.overload()), function))
            .collect(),
        names: BTreeSet::new(),
        n_nodes: 0,
        calls: Vec::new(),
    };
    inliner.collect_names(&graph);
    inliner.graph(&mut graph)?;
    proto.graph = Some(graph);
    let known: BTreeSet<String> = proto.opset_import.iter().map(|import| import.domain().to_owned()).collect();
    let imports = functions.iter().flat_map(|function| &function.opset_import);
    let new: BTreeMap<&str, i64> = imports
        .filter(|import| !known.contains(import.domain()))
        .map(|import| (import.domain(), import.version()))
        .collect();
    proto.opset_import.extend(
        new.into_iter()
            .map(|(domain, version)| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }),
    );
    Ok(Some(Model::from_proto(&proto)?))
}

type Key = (String, String, String);

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    (domain.to_owned(), name.to_owned(), overload.to_owned())
}

struct Inliner<'a> {
    functions: BTreeMap<Key, &'a FunctionProto>,
    names: BTreeSet<String>,
    n_nodes: usize,
    calls: Vec<Key>,
}

/// What names inside a function mean at its call.
struct Call<'c> {
    names: BTreeMap<String, String>,
    prefix: String,
    attributes: BTreeMap<&'c str, &'c AttributeProto>,
}

impl Inliner<'_> {
    fn collect_names(&mut self, graph: &GraphProto) {
        self.names.extend(graph.input.iter().chain(&graph.output).map(|info| info.name().to_owned()));
        self.names.extend(graph.initializer.iter().map(|tensor| tensor.name().to_owned()));
        for node in &graph.node {
            self.names.extend(node.output.iter().cloned());
            for attribute in &node.attribute {
                attribute.g.iter().for_each(|graph| self.collect_names(graph));
                attribute.graphs.iter().for_each(|graph| self.collect_names(graph));
            }
        }
    }

    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), RewriteError> {
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in std::mem::take(&mut graph.node) {
            self.node(node, &mut nodes)?;
        }
        graph.node = nodes;
        Ok(())
    }

    fn node(&mut self, mut node: NodeProto, nodes: &mut Vec<NodeProto>) -> Result<(), RewriteError> {
        let called = key(node.domain(), node.op_type(), node.overload());
        if let Some(function) = self.functions.get(&called).copied() {
            return self.call(called, function, &node, nodes);
        }
        self.n_nodes += 1;
        if self.n_nodes > N_NODES_MAX {
            return Err(RewriteError::TooManyNodes { limit: N_NODES_MAX });
        }
        for attribute in &mut node.attribute {
            if let Some(graph) = &mut attribute.g {
                self.graph(graph)?;
            }
            attribute.graphs.iter_mut().try_for_each(|graph| self.graph(graph))?;
        }
        nodes.push(node);
        Ok(())
    }

    fn call(
        &mut self,
        called: Key,
        function: &FunctionProto,
        node: &NodeProto,
        nodes: &mut Vec<NodeProto>,
    ) -> Result<(), RewriteError> {
        if self.calls.contains(&called) || self.calls.len() >= DEPTH_MAX {
            return Err(RewriteError::RecursiveFunction { function: function.name().to_owned() });
        }
        let label = if node.name().is_empty() { function.name() } else { node.name() };
        let mut call = Call { names: BTreeMap::new(), prefix: self.fresh(label), attributes: BTreeMap::new() };
        for default in &function.attribute_proto {
            call.attributes.insert(default.name(), default);
        }
        for given in &node.attribute {
            call.attributes.insert(given.name(), given);
        }
        for (index, input) in function.input.iter().enumerate() {
            call.names.insert(input.clone(), node.input.get(index).cloned().unwrap_or_default());
        }
        let mut passed_on = Vec::new();
        for (index, output) in function.output.iter().enumerate() {
            let wanted = node.output.get(index).cloned().unwrap_or_default();
            match call.names.get(output) {
                // An output that is an input, or is given twice, is a copy.
                Some(source) if !wanted.is_empty() => passed_on.push((source.clone(), wanted)),
                Some(_) => {}
                None => {
                    let name =
                        if wanted.is_empty() { self.fresh(&format!("{}/{output}", call.prefix)) } else { wanted };
                    call.names.insert(output.clone(), name);
                }
            }
        }
        self.calls.push(called);
        for inner in &function.node {
            let renamed = self.renamed(inner, &mut call);
            self.node(renamed, nodes)?;
        }
        self.calls.pop();
        for (from, to) in passed_on {
            let op_type = Some("Identity".to_owned());
            nodes.push(NodeProto { input: vec![from], output: vec![to], op_type, ..NodeProto::default() });
        }
        Ok(())
    }

    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{n}");
            n += 1;
        }
        name
    }

    fn renamed(&mut self, node: &NodeProto, call: &mut Call<'_>) -> NodeProto {
        let mut renamed = node.clone();
        if !node.name().is_empty() {
            renamed.name = Some(format!("{}/{}", call.prefix, node.name()));
        }
        renamed.input.iter_mut().for_each(|name| self.rename(name, call));
        renamed.output.iter_mut().for_each(|name| self.rename(name, call));
        renamed.attribute = node.attribute.iter().filter_map(|attribute| self.attribute(attribute, call)).collect();
        renamed
    }

    fn rename(&mut self, name: &mut String, call: &mut Call<'_>) {
        if name.is_empty() {
            return;
        }
        if !call.names.contains_key(name.as_str()) {
            let unique = self.fresh(&format!("{}/{name}", call.prefix));
            call.names.insert(name.clone(), unique);
        }
        name.clone_from(&call.names[name.as_str()]);
    }

    /// The attribute at this call; one that refers to what the call leaves out is left out too.
    fn attribute(&mut self, attribute: &AttributeProto, call: &mut Call<'_>) -> Option<AttributeProto> {
        if let Some(reference) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) {
            let given = call.attributes.get(reference)?;
            return Some(AttributeProto { name: attribute.name.clone(), ref_attr_name: None, ..(*given).clone() });
        }
        let mut attribute = attribute.clone();
        if let Some(graph) = &mut attribute.g {
            self.body(graph, call);
        }
        attribute.graphs.iter_mut().for_each(|graph| self.body(graph, call));
        Some(attribute)
    }

    fn body(&mut self, graph: &mut GraphProto, call: &mut Call<'_>) {
        let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
        for info in infos {
            info.name.iter_mut().for_each(|name| self.rename(name, call));
        }
        for tensor in &mut graph.initializer {
            tensor.name.iter_mut().for_each(|name| self.rename(name, call));
        }
        graph.node = std::mem::take(&mut graph.node).iter().map(|node| self.renamed(node, call)).collect();
    }
}

#[cfg(test)]
mod tests;
