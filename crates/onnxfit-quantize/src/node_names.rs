//! Names of new nodes: ONNX Runtime 1.31 refuses two nodes of one name in a graph.

use std::collections::BTreeSet;

use onnxfit_graph::Graph;

/// The names that nodes of a graph have.
#[derive(Clone, Debug)]
pub(crate) struct NodeNames(BTreeSet<String>);

impl NodeNames {
    /// The names that are there.
    pub(crate) fn of(graph: &Graph) -> Self {
        Self(graph.nodes().map(|(_, node)| node.name.clone()).collect())
    }

    /// The name, with a number behind it if it is taken.
    pub(crate) fn unique(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut n = 1;
        while !self.0.insert(candidate.clone()) {
            candidate = format!("{name}_{n}");
            n += 1;
        }
        candidate
    }
}
