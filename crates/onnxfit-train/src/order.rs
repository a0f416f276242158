//! The order of nodes in a training graph, which decides what ONNX Runtime keeps.
//!
//! ONNX Runtime walks back from the nodes that nobody reads, the last in the file first
//! (`GraphViewer`, graph_viewer.cc, ORT 1.31). A gradient that is found early must therefore stand
//! late: otherwise the way back runs to its end before the first weight gradient is computed, and
//! all that they need is kept. Measured on a chain of 32 convolutions: half the peak.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_onnx::proto::NodeProto;

use crate::error::TrainError;

/// Moves the nodes that nobody reads to the end, those furthest from the inputs first.
pub(crate) fn deepest_leaves_first(nodes: &mut Vec<NodeProto>) {
    let read: BTreeSet<String> = nodes.iter().flat_map(reads).collect();
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    let mut leaves = Vec::new();
    let mut rest = Vec::new();
    for node in std::mem::take(nodes) {
        let depth = 1 + reads(&node).iter().filter_map(|name| depths.get(name)).max().copied().unwrap_or(0);
        node.output.iter().for_each(|name| {
            depths.insert(name.clone(), depth);
        });
        if node.output.iter().any(|name| read.contains(name)) {
            rest.push(node);
        } else {
            leaves.push((depth, node));
        }
    }
    leaves.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    rest.extend(leaves.into_iter().map(|(_, node)| node));
    *nodes = rest;
}

/// Brings nodes into an order in which each comes after what it reads.
pub(crate) fn topological(nodes: &mut Vec<NodeProto>) -> Result<(), TrainError> {
    let mut maker: BTreeMap<String, usize> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        node.output.iter().filter(|name| !name.is_empty()).for_each(|name| {
            maker.insert(name.clone(), index);
        });
    }
    let before: Vec<BTreeSet<usize>> =
        nodes.iter().map(|node| reads(node).iter().filter_map(|name| maker.get(name).copied()).collect()).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); before.len()];
    before.iter().enumerate().for_each(|(index, before)| before.iter().for_each(|maker| readers[*maker].push(index)));
    let mut n_waiting: Vec<usize> = before.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = (0..before.len()).filter(|index| n_waiting[*index] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for reader in &readers[index] {
            n_waiting[*reader] -= 1;
            if n_waiting[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    if order.len() != nodes.len() {
        return Err(TrainError::Model("its nodes wait for each other".to_owned()));
    }
    let mut taken: Vec<Option<NodeProto>> = std::mem::take(nodes).into_iter().map(Some).collect();
    *nodes = order.into_iter().filter_map(|index| taken[index].take()).collect();
    Ok(())
}

/// Everything that a node reads, in its subgraphs too.
fn reads(node: &NodeProto) -> Vec<String> {
    let mut found: Vec<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_deref()) {
        found.extend(graph.node.iter().flat_map(reads));
    }
    found
}
