//! Every tensor of a model, wherever it hides: initializers, sparse initializers, attributes,
//! subgraphs, functions and training graphs.
//!
//! Recursion is as deep as subgraphs nest, which the first walk over the file has bounded.

use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// A tensor, and whether it is an initializer. The others (attributes, the parts of sparse
/// tensors) must stay inside the model file: runtimes look for them there.
pub type FoundMut<'a> = (&'a mut TensorProto, bool);

/// Calls `visit` with every tensor of the model.
pub(crate) fn visit_tensors<'a>(model: &'a ModelProto, visit: &mut impl FnMut(&'a TensorProto)) {
    model.functions.iter().flat_map(|function| &function.node).for_each(|node| visit_node(node, visit));
    for training in &model.training_info {
        let graphs = training.initialization.iter().chain(&training.algorithm);
        graphs.for_each(|graph| visit_graph(graph, visit));
    }
    model.graph.iter().for_each(|graph| visit_graph(graph, visit));
}

fn visit_graph<'a>(graph: &'a GraphProto, visit: &mut impl FnMut(&'a TensorProto)) {
    graph.initializer.iter().for_each(&mut *visit);
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).for_each(|tensor| visit(tensor));
    }
    graph.node.iter().for_each(|node| visit_node(node, visit));
}

fn visit_node<'a>(node: &'a NodeProto, visit: &mut impl FnMut(&'a TensorProto)) {
    for AttributeProto { t, tensors, g, graphs, sparse_tensor, sparse_tensors, .. } in &node.attribute {
        t.iter().for_each(|tensor| visit(tensor));
        tensors.iter().for_each(&mut *visit);
        for sparse in sparse_tensor.iter().map(|sparse| &**sparse).chain(sparse_tensors) {
            sparse.values.iter().chain(&sparse.indices).for_each(|tensor| visit(tensor));
        }
        g.iter().for_each(|graph| visit_graph(graph, visit));
        graphs.iter().for_each(|graph| visit_graph(graph, visit));
    }
}

/// Every tensor of the model, to be changed.
pub fn tensors_mut(model: &mut ModelProto) -> Vec<FoundMut<'_>> {
    let mut found = Vec::new();
    for function in &mut model.functions {
        function.node.iter_mut().for_each(|node| collect_node(node, &mut found));
    }
    for training in &mut model.training_info {
        let graphs = training.initialization.iter_mut().chain(training.algorithm.iter_mut());
        graphs.for_each(|graph| collect_graph(graph, &mut found));
    }
    if let Some(graph) = &mut model.graph {
        collect_graph(graph, &mut found);
    }
    found
}

fn collect_graph<'a>(graph: &'a mut GraphProto, found: &mut Vec<FoundMut<'a>>) {
    found.extend(graph.initializer.iter_mut().map(|tensor| (tensor, true)));
    for sparse in &mut graph.sparse_initializer {
        found.extend(sparse.values.iter_mut().chain(sparse.indices.iter_mut()).map(|tensor| (&mut **tensor, false)));
    }
    graph.node.iter_mut().for_each(|node| collect_node(node, found));
}

fn collect_node<'a>(node: &'a mut NodeProto, found: &mut Vec<FoundMut<'a>>) {
    for AttributeProto { t, tensors, g, graphs, sparse_tensor, sparse_tensors, .. } in &mut node.attribute {
        found.extend(t.iter_mut().map(|tensor| (&mut **tensor, false)));
        found.extend(tensors.iter_mut().map(|tensor| (tensor, false)));
        for sparse in sparse_tensor.iter_mut().map(|sparse| &mut **sparse).chain(sparse_tensors) {
            let parts = sparse.values.iter_mut().chain(sparse.indices.iter_mut());
            found.extend(parts.map(|tensor| (&mut **tensor, false)));
        }
        g.iter_mut().for_each(|graph| collect_graph(graph, found));
        graphs.iter_mut().for_each(|graph| collect_graph(graph, found));
    }
}
