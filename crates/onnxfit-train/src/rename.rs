//! Other names for everything in a graph, the graphs inside it included.

use onnxfit_onnx::proto::GraphProto;

use crate::error::TrainError;

/// Subgraphs within subgraphs.
const DEPTH_MAX: usize = 64;

/// Lets `change` see every name of a value or a node.
pub(crate) fn rename(graph: &mut GraphProto, change: &impl Fn(&mut String)) -> Result<(), TrainError> {
    at_depth(graph, change, 0)
}

fn at_depth(graph: &mut GraphProto, change: &impl Fn(&mut String), depth: usize) -> Result<(), TrainError> {
    if depth > DEPTH_MAX {
        return Err(TrainError::Model(format!("its subgraphs are nested more than {DEPTH_MAX} deep")));
    }
    for tensor in &mut graph.initializer {
        tensor.name.iter_mut().for_each(change);
    }
    for tensor in &mut graph.sparse_initializer {
        tensor.values.iter_mut().filter_map(|values| values.name.as_mut()).for_each(change);
    }
    let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    infos.filter_map(|info| info.name.as_mut()).for_each(change);
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).chain(&mut node.name).for_each(change);
        for attribute in &mut node.attribute {
            let inner = attribute.g.iter_mut().map(|graph| &mut **graph).chain(&mut attribute.graphs);
            for graph in inner {
                at_depth(graph, change, depth + 1)?;
            }
        }
    }
    Ok(())
}
