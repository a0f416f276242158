//! Patterns that ONNX Runtime's CPU provider cannot load in the half type, rewritten to ones that
//! mean the same.
//!
//! A half-width weight of a MatMul whose other operand comes from a Transpose that rotates the
//! batch axes ends the process in `FuseInitializersTransformer`: MatmulTransposeFusion renames the
//! cast that was inserted for the weight, and the cast's reader is then looked up by the old name
//! (fuse_initializers_transformer.cc, ORT 1.31; seen with 1.31.1 at the highest level). Where the
//! last axis stays in place the Transpose moves behind the product, which is exact; elsewhere the
//! product stays float32.

use onnxfit_graph::{AttributeValue, Graph, Model, NewNode, Node, NodeId, Patch, Place, ValueId, ValueType};
use onnxfit_onnx::DataType;

use crate::RewriteError;

/// A product that the runtime would stumble over.
struct Stumble {
    matmul: NodeId,
    /// What the Transpose reads.
    source: ValueId,
    perm: Vec<i64>,
}

/// The model with every such Transpose moved behind its product; `None` if there is none.
pub(super) fn move_transposes(model: &Model) -> Result<Option<Model>, RewriteError> {
    let patch = patch(&model.graph);
    if patch.is_empty() {
        return Ok(None);
    }
    let mut moved = model.clone();
    moved.graph.apply(&patch)?;
    Ok(Some(moved))
}

fn patch(graph: &Graph) -> Patch {
    let mut patch = Patch::new(graph, "move-transposes");
    for (id, node) in graph.nodes() {
        if let Some(stumble) = stumble(graph, id, node).filter(|stumble| keeps_last_axis(&stumble.perm)) {
            move_one(graph, &stumble, node, &mut patch);
        }
        for attribute in &node.attributes {
            for (index, body) in attribute.graphs().iter().enumerate() {
                let inner = self::patch(body);
                if !inner.is_empty() {
                    patch.subgraph(id, &attribute.name, index, inner);
                }
            }
        }
    }
    patch
}

/// Whether a product that could not be rewritten stays float32 because of this.
pub(super) fn must_stay(graph: &Graph, id: NodeId, node: &Node) -> bool {
    stumble(graph, id, node).is_some()
}

fn stumble(graph: &Graph, id: NodeId, node: &Node) -> Option<Stumble> {
    if !node.is("MatMul") {
        return None;
    }
    let is_float = |tensor: &onnxfit_onnx::proto::TensorProto| tensor.element_type() == Ok(DataType::Float);
    graph.constant_tensor(node.input(1)?).filter(|tensor| is_float(tensor) && tensor.dims.len() == 2)?;
    let (_, transpose) = graph.producer(node.input(0)?).filter(|(_, producer)| producer.is("Transpose"))?;
    let perm = transpose.ints("perm").filter(|perm| rotates_batch(perm))?.to_vec();
    Some(Stumble { matmul: id, source: transpose.input(0)?, perm })
}

/// `1, 2, …, 0, last` or `1, 2, …, last, 0`: the first axis goes behind the other batch axes.
fn rotates_batch(perm: &[i64]) -> bool {
    let rank = perm.len();
    if rank < 3 {
        return false;
    }
    let starts_rotated = perm[..rank - 2].iter().zip(1i64..).all(|(axis, expected)| *axis == expected);
    starts_rotated && perm[rank - 2..].contains(&0)
}

fn keeps_last_axis(perm: &[i64]) -> bool {
    perm.last().is_some_and(|last| usize::try_from(*last) == Ok(perm.len() - 1))
}

fn move_one(graph: &Graph, stumble: &Stumble, node: &Node, patch: &mut Patch) {
    let Some(output) = node.output(0) else { return };
    let name = graph.value(output).name.clone();
    let product = patch.add_value(&format!("{name}_unrotated"), ValueType::Unknown);
    patch.set_input(stumble.matmul, 0, Some(stumble.source));
    patch.set_output(stumble.matmul, 0, Some(product));
    let transpose = NewNode::new("Transpose", &format!("{name}_rotate"), &[product], &[output]);
    let transpose = transpose.with("perm", AttributeValue::Ints(stumble.perm.clone()));
    patch.add_node(Place::After(stumble.matmul), transpose);
}
