//! A student's features made as wide as a teacher's: a product with a matrix that is trained beside
//! the student and is no part of it in the end.

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{NodeProto, TensorProto};
use onnxfit_shape::{Bindings, infer};

use crate::error::TrainError;
use crate::lora::noise;

/// What names of projections begin with.
pub const PROJECTION: &str = "projection/";

/// A model with a projection of one of its values.
#[derive(Clone, Debug)]
pub struct Projected {
    /// The model.
    pub model: Model,
    /// The value that is as wide as was asked for.
    pub value: String,
    /// The matrix.
    pub parameter: String,
}

/// How many channels a value has, where it is known: along the second axis of images, the last of
/// anything else.
pub fn feature_width(model: &Model, value: &str) -> Option<u64> {
    let facts = infer(model, &Bindings::default()).graph;
    let shape = facts.fact(model.graph.value_named(value)?).shape.as_ref()?;
    let axis = if shape.len() == IMAGE_RANK { 1 } else { shape.len().checked_sub(1)? };
    u64::try_from(shape.get(axis)?.as_constant()?).ok()
}

/// The rank of images and their feature maps.
const IMAGE_RANK: usize = 4;

/// Projects a value to a width; `seed` makes the matrix.
pub fn project(model: &Model, value: &str, wanted: u64, seed: u64) -> Result<Projected, TrainError> {
    let no_width = || TrainError::NotALoss { name: value.to_owned(), reason: "its width is unknown".to_owned() };
    let have = feature_width(model, value).ok_or_else(no_width)?;
    let facts = infer(model, &Bindings::default()).graph;
    let id = model.graph.value_named(value).ok_or_else(no_width)?;
    let is_image = facts.fact(id).shape.as_ref().is_some_and(|shape| shape.len() == IMAGE_RANK);
    let (parameter, projected) = (format!("{PROJECTION}{value}/weight"), format!("{PROJECTION}{value}"));
    let bound = (1.0 / have.max(1) as f64).sqrt();
    let numbers: Vec<f32> = noise(seed, (have * wanted) as usize).map(|number| (number * bound) as f32).collect();
    let (have, wanted) = (have as i64, wanted as i64);
    let (op_type, dims) = if is_image { ("Conv", vec![wanted, have, 1, 1]) } else { ("MatMul", vec![have, wanted]) };
    let mut proto = model.to_proto();
    let mut graph = proto.graph.take().unwrap_or_default();
    graph.initializer.push(TensorProto::from_f32(&parameter, &dims, &numbers));
    graph.node.push(NodeProto {
        op_type: Some(op_type.to_owned()),
        name: Some(projected.clone()),
        input: vec![value.to_owned(), parameter.clone()],
        output: vec![projected.clone()],
        ..NodeProto::default()
    });
    proto.graph = Some(graph);
    Ok(Projected { model: Model::from_proto(&proto)?, value: projected, parameter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_gets_the_width_that_is_asked_for() {
        let text = "g (float[N,3] x, float[N,5,2,2] i) => (float[N,3] y, float[N,5,2,2] j) \
                    { y = Relu(x) j = Relu(i) }";
        let model = Model::from_proto(&onnxfit_onnx::text::parse(text).unwrap()).unwrap();
        for (value, have) in [("y", 3), ("j", 5)] {
            assert_eq!(feature_width(&model, value), Some(have));
            let made = project(&model, value, 7, 1).unwrap();
            assert_eq!(feature_width(&made.model, &made.value), Some(7));
        }
        assert!(project(&model, "nobody", 7, 1).is_err());
    }
}
