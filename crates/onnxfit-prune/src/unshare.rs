//! Gives every reader a small weight of its own.
//!
//! Exporters store equal tensors once: all normalizations that begin at one share a vector of ones.
//! Pruning would then have to cut all of them alike, though they have nothing to do with each
//! other. Vectors are small, so each reader gets its own.

use std::sync::Arc;

use onnxfit_graph::{GraphError, Model, Patch, ValueId};
use onnxfit_onnx::proto::TensorProto;

use crate::source::Cuts;

/// A vector of more elements stays shared.
const N_ELEMENTS_MAX: i64 = 1 << 16;

/// The same model, in which no vector is read twice.
pub(crate) fn unshare(model: &Model, cuts: &mut Cuts) -> Result<Model, GraphError> {
    let mut model = model.clone();
    drop_copies(&mut model)?;
    let graph = &model.graph;
    let mut patch = Patch::new(graph, "a weight for every reader");
    for id in graph.initializers() {
        let value = graph.value(*id);
        let Some(tensor) = value.tensor() else { continue };
        let is_small = tensor.dims.len() == 1 && tensor.dims[0] > 1 && tensor.dims[0] <= N_ELEMENTS_MAX;
        let is_float = tensor.element_type().is_ok_and(|element_type| element_type.is_float());
        if !is_small
            || !is_float
            || value.is_input
            || value.is_output
            || value.uses.iter().any(|one| one.input.is_none())
        {
            continue;
        }
        for (number, one) in value.uses.iter().enumerate().skip(1) {
            let name = format!("{}/{number}", value.name);
            let copy = patch.add_initializer(copy_of(tensor, &name, cuts));
            patch.set_input(one.node, one.input.unwrap_or(0), Some(copy));
        }
    }
    model.graph.apply(&patch)?;
    Ok(model)
}

/// Lets readers of a copied weight read the weight.
fn drop_copies(model: &mut Model) -> Result<(), GraphError> {
    const N_ROUNDS_MAX: usize = 8;
    for _ in 0..N_ROUNDS_MAX {
        let graph = &model.graph;
        let mut patch = Patch::new(graph, "weights without copies");
        for (id, node) in graph.nodes() {
            let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { continue };
            let is_weight = |id: ValueId| graph.value(id).tensor().is_some() && !graph.value(id).is_input;
            if node.is("Identity") && is_weight(input) && !graph.value(output).is_output {
                patch.replace_uses(output, input);
                patch.remove_node(id);
            }
        }
        if patch.is_empty() {
            break;
        }
        model.graph.apply(&patch)?;
    }
    Ok(())
}

/// The same tensor under another name, without reading it.
fn copy_of(tensor: &Arc<TensorProto>, name: &str, cuts: &mut Cuts) -> TensorProto {
    let mut copy = (**tensor).clone();
    copy.name = Some(name.to_owned());
    if !tensor.is_inline() {
        cuts.postpone(&mut copy, tensor, Vec::new(), Vec::new(), None);
    }
    copy
}
