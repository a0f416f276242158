//! Graphs that ONNX Runtime runs as they are.
//!
//! With optimization off a session still duplicates dequantizations, inlines what it has no kernel
//! for and inserts casts around half precision. Most graphs have nothing of the kind, and to see
//! that takes one look at each node.

use onnxfit_graph::{AttributeValue, Constant, Graph, Model, Node, ValueType};
use onnxfit_onnx::DataType;

use super::{Level, RewriteOptions};

/// Whether rewriting a model is known to leave its nodes, their order and its values as they are.
/// `Constant` nodes do not count: they are weights either way. False where it takes more than a
/// look.
pub fn leaves_unchanged(model: &Model, options: &RewriteOptions) -> bool {
    options.level == Level::Disable && model.functions().is_empty() && is_plain(&model.graph)
}

fn is_plain(graph: &Graph) -> bool {
    // A changed graph is sorted.
    graph.is_sorted()
        && graph.values().all(|(_, value)| {
            let half_weight = match &value.constant {
                Some(Constant::Dense(tensor)) => is_half(tensor.element_type().ok()),
                Some(Constant::Sparse(_)) => true,
                None => false,
            };
            !half_weight && !holds_half(&value.ty)
        })
        && graph.nodes().all(|(_, node)| is_plain_node(graph, node))
}

fn is_plain_node(graph: &Graph, node: &Node) -> bool {
    let is_replaced = match node.op_type.as_str() {
        // Also those of other domains; a second look is cheap.
        "DequantizeLinear" | "HardSwish" | "Mish" | "CastLike" | "GroupNormalization" => true,
        "Cast" => {
            let source = node.input(0).and_then(|value| graph.producer(value));
            source.is_some_and(|(_, source)| source.op_type == "Cast")
        }
        _ => false,
    };
    !is_replaced
        && node.attributes.iter().all(|attribute| match &attribute.value {
            AttributeValue::Int(number) => {
                *number != i64::from(DataType::Float16.number())
                    || !matches!(attribute.name.as_str(), "to" | "dtype" | "output_dtype" | "stash_type")
            }
            AttributeValue::Tensor(tensor) => !is_half(tensor.element_type().ok()),
            _ => attribute.graphs().iter().all(is_plain),
        })
}

fn is_half(element: Option<DataType>) -> bool {
    element == Some(DataType::Float16)
}

fn holds_half(ty: &ValueType) -> bool {
    match ty {
        ValueType::Tensor(tensor) | ValueType::SparseTensor(tensor) => is_half(tensor.element_type),
        ValueType::Sequence(inner) | ValueType::Optional(inner) | ValueType::Map(_, inner) => holds_half(inner),
        ValueType::Unknown | ValueType::Opaque(..) => false,
    }
}
