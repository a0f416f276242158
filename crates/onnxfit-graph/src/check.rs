//! Whether a graph's structure holds together. Written apart from the code that changes graphs.

use std::collections::BTreeSet;

use crate::error::GraphError;
use crate::graph::Graph;
use crate::node::NodeId;

/// Checks that every value read is defined exactly once and that no node waits for itself.
pub(crate) fn check(graph: &Graph) -> Result<(), GraphError> {
    let mut defined = vec![false; graph.n_values()];
    for (id, node) in graph.nodes() {
        for value in node.outputs.iter().flatten() {
            let entry = graph.value(*value);
            let clash = entry.is_input || entry.is_captured || (entry.constant.is_some() && !node.is("Constant"));
            if clash || std::mem::replace(&mut defined[value.index()], true) {
                return Err(GraphError::DefinedTwice {
                    graph: graph.name.clone(),
                    value: entry.name.clone(),
                    first: if clash { "an input, initializer or outer value" } else { "a node" }.to_owned(),
                    second: format!("an output of `{}`", graph.node_label(id)),
                });
            }
        }
    }
    let is_defined = |value: &crate::value::ValueId| {
        let entry = graph.value(*value);
        entry.is_input || entry.is_captured || entry.constant.is_some() || defined[value.index()]
    };
    for (id, node) in graph.nodes() {
        if let Some(value) = node.inputs.iter().flatten().chain(&node.implicit_inputs).find(|value| !is_defined(value))
        {
            return Err(GraphError::Undefined {
                graph: graph.name.clone(),
                node: graph.node_label(id).to_owned(),
                op_type: node.op_type.clone(),
                value: graph.value(*value).name.clone(),
            });
        }
    }
    if let Some(value) = graph.outputs().iter().find(|value| !is_defined(value)) {
        return Err(GraphError::UndefinedOutput { graph: graph.name.clone(), value: graph.value(*value).name.clone() });
    }
    match graph.topological_order() {
        Ok(_) => Ok(()),
        Err(waiting) => Err(cycle(graph, &waiting)),
    }
}

/// Names one cycle among nodes that never became ready.
fn cycle(graph: &Graph, waiting: &[NodeId]) -> GraphError {
    const SHOWN_MAX: usize = 8;
    let stuck: BTreeSet<NodeId> = waiting.iter().copied().collect();
    let mut path = Vec::new();
    let mut at = waiting[0];
    // Every stuck node waits for a stuck producer, so walking backwards must close a loop.
    while !path.contains(&at) {
        path.push(at);
        let node = graph.node(at);
        let before = node
            .inputs
            .iter()
            .flatten()
            .chain(&node.implicit_inputs)
            .filter_map(|value| graph.value(*value).producer.map(|(id, _)| id))
            .find(|id| stuck.contains(id));
        match before {
            Some(id) => at = id,
            None => break,
        }
    }
    let start = path.iter().position(|id| *id == at).unwrap_or(0);
    let loop_nodes = &path[start..];
    let mut names: Vec<&str> = loop_nodes.iter().rev().take(SHOWN_MAX).map(|id| graph.node_label(*id)).collect();
    if loop_nodes.len() > SHOWN_MAX {
        names.push("…");
    }
    GraphError::Cycle { graph: graph.name.clone(), n_nodes: loop_nodes.len(), path: names.join(" -> ") }
}
