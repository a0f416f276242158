//! What can be wrong with the structure of a graph.

/// A graph that no runtime could run, or a patch that would make one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A node reads a value that nothing defines.
    #[error(
        "`{node}` ({op_type}) reads `{value}`, which no node, input or initializer of graph `{graph}` or around it defines"
    )]
    Undefined {
        /// The graph.
        graph: String,
        /// The node's name, or its first output.
        node: String,
        /// Its operator.
        op_type: String,
        /// The name that leads nowhere.
        value: String,
    },
    /// A graph output that nothing defines.
    #[error("output `{value}` of graph `{graph}` is never defined")]
    UndefinedOutput {
        /// The graph.
        graph: String,
        /// The output.
        value: String,
    },
    /// Two definitions of one name.
    #[error("`{value}` is defined twice in graph `{graph}`: {first} and {second}")]
    DefinedTwice {
        /// The graph.
        graph: String,
        /// The name.
        value: String,
        /// Who defines it first.
        first: String,
        /// Who defines it again.
        second: String,
    },
    /// Nodes that wait for each other.
    #[error("graph `{graph}` has a cycle through {n_nodes} nodes: {path}")]
    Cycle {
        /// The graph.
        graph: String,
        /// How many nodes wait for each other.
        n_nodes: usize,
        /// Some of them, in order.
        path: String,
    },
    /// A patch that was made for another state of the graph.
    #[error("patch `{patch}` was made for another state of graph `{graph}`")]
    StalePatch {
        /// The patch.
        patch: String,
        /// The graph.
        graph: String,
    },
    /// A patch that names a node, value or attribute that is not there.
    #[error("patch `{patch}` names {what}, which graph `{graph}` does not have")]
    NoSuchPart {
        /// The patch.
        patch: String,
        /// The graph.
        graph: String,
        /// The missing part.
        what: String,
    },
}
