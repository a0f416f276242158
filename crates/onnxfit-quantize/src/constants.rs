//! Fixed tensors: what they hold, and what may be done with them.

use onnxfit_graph::{Graph, Model, Patch, ValueId};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, TensorSource};

use crate::QuantizeError;

/// The numbers of a 32-bit float tensor, all of which must be finite.
pub(crate) fn floats(tensor: &TensorProto, source: &dyn TensorSource) -> Result<Vec<f32>, QuantizeError> {
    let bytes = source.tensor_bytes(tensor)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let n_bad = numbers.iter().filter(|number| !number.is_finite()).count();
    if n_bad > 0 {
        return Err(QuantizeError::NotFinite { tensor: tensor.name().to_owned(), n_bad });
    }
    Ok(numbers)
}

/// The shape of a fixed 32-bit float tensor; `None` for any other value.
pub(crate) fn float_dims(graph: &Graph, value: ValueId) -> Option<Vec<usize>> {
    let tensor = graph.constant_tensor(value)?;
    if tensor.element_type().ok()? != DataType::Float {
        return None;
    }
    tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect()
}

/// A float tensor of this shape.
pub(crate) fn float_tensor(name: &str, dims: &[usize], numbers: &[f32]) -> TensorProto {
    let dims: Vec<i64> = dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
    TensorProto::from_f32(name, &dims, numbers)
}

/// Drops initializers and `Constant` nodes that nobody reads, in bodies too.
pub(crate) fn sweep(model: &mut Model) -> Result<(), QuantizeError> {
    let patch = sweep_patch(&model.graph);
    Ok(model.graph.apply(&patch)?)
}

fn sweep_patch(graph: &Graph) -> Patch {
    let mut patch = Patch::new(graph, "sweep");
    for id in graph.initializers() {
        let value = graph.value(*id);
        if value.uses.is_empty() && !value.is_output && !value.is_input {
            patch.remove_initializer(*id);
        }
    }
    for (id, node) in graph.nodes() {
        let is_read =
            node.outputs.iter().flatten().any(|out| graph.value(*out).is_output || !graph.value(*out).uses.is_empty());
        if node.is("Constant") && !is_read {
            patch.remove_node(id);
        }
        let mut seen: Vec<(&str, usize)> = Vec::new();
        for (attribute, body) in node.subgraphs() {
            let index = seen.iter().filter(|(name, _)| *name == attribute).count();
            seen.push((attribute, index));
            let inner = sweep_patch(body);
            if !inner.is_empty() {
                patch.subgraph(id, attribute, index, inner);
            }
        }
    }
    patch
}
