//! The tensor that a `Constant` node stands for.

use onnxfit_graph::{AttributeValue, Node};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

/// The tensor of a `Constant` node, whichever attribute it uses; `None` for sparse ones.
pub(crate) fn tensor(node: &Node) -> Option<TensorProto> {
    let name = "";
    node.attributes.iter().find_map(|attribute| match (attribute.name.as_str(), &attribute.value) {
        ("value", AttributeValue::Tensor(tensor)) => Some((**tensor).clone()),
        ("value_float", AttributeValue::Float(value)) => Some(TensorProto::from_f32(name, &[], &[*value])),
        ("value_floats", AttributeValue::Floats(values)) => {
            Some(TensorProto::from_f32(name, &[values.len() as i64], values))
        }
        ("value_int", AttributeValue::Int(value)) => Some(TensorProto::from_i64(name, &[], &[*value])),
        ("value_ints", AttributeValue::Ints(values)) => {
            Some(TensorProto::from_i64(name, &[values.len() as i64], values))
        }
        ("value_string", AttributeValue::String(value)) => {
            Some(TensorProto { string_data: vec![value.clone()], ..strings(&[]) })
        }
        ("value_strings", AttributeValue::Strings(values)) => {
            Some(TensorProto { string_data: values.clone(), ..strings(&[values.len() as i64]) })
        }
        _ => None,
    })
}

fn strings(dims: &[i64]) -> TensorProto {
    TensorProto { data_type: Some(DataType::String.number()), dims: dims.to_vec(), ..TensorProto::default() }
}
