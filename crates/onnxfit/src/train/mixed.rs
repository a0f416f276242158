//! Mixed precision: the model computes in half precision, its weights are kept in single.
//!
//! Each trained weight stays the float32 number that the optimizer changes, and is cast where it is
//! read; the gradient comes back through that cast. The loss is computed in float32 and scaled.

use std::collections::BTreeMap;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::{AttributeProto, NodeProto, TensorProto};
use onnxfit_onnx::{DataType, TensorSource};
use onnxfit_rewrite::half::{HalfOptions, HalfOutcome, HalfType, to_half};

use crate::Error;

/// What the loss is multiplied by at first; halved as soon as a gradient leaves the range.
pub(super) const LOSS_SCALE: f64 = 65536.0;

/// What names of the weights' half-precision copies begin with.
const COPY: &str = "mixed/";

/// A model in half precision whose parameters are float32.
pub(super) fn mixed(
    model: &GraphModel,
    weights: &dyn TensorSource,
    parameters: &[String],
) -> Result<(GraphModel, HalfOutcome), Error> {
    let rewrite = |message: String, hint: Option<&str>| Error::Rewrite { message, hint: hint.map(str::to_owned) };
    let outcome = to_half(model, weights, &HalfOptions::new(HalfType::Float16))
        .map_err(|error| rewrite(error.to_string(), None))?;
    let originals: BTreeMap<&str, &TensorProto> = parameters
        .iter()
        .filter_map(|name| Some((name.as_str(), &**model.graph.constant_tensor(model.graph.value_named(name)?)?)))
        .collect();
    let mut proto = outcome.model.to_proto();
    let graph = proto.graph.get_or_insert_default();
    if let Some(name) = originals.keys().find(|name| !graph.initializer.iter().any(|tensor| tensor.name() == **name)) {
        let hint = "freeze it with `--freeze`, or train without `--mixed`";
        return Err(rewrite(format!("`{name}` is no weight of its own in half precision: it was folded"), Some(hint)));
    }
    let mut casts = Vec::new();
    for tensor in &mut graph.initializer {
        let Some(original) = originals.get(tensor.name()) else { continue };
        if tensor.element_type() == Ok(DataType::Float16) {
            casts.push(cast(original.name()));
            *tensor = (*original).clone();
        }
    }
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if casts.iter().any(|cast| cast.input[0] == *input) {
            *input = format!("{COPY}{input}");
        }
    }
    casts.append(&mut graph.node);
    graph.node = casts;
    let model = GraphModel::from_proto(&proto).map_err(|error| rewrite(error.to_string(), None))?;
    Ok((model, outcome))
}

fn cast(weight: &str) -> NodeProto {
    let to = AttributeProto {
        name: Some("to".to_owned()),
        r#type: Some(2),
        i: Some(DataType::Float16.number().into()),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: Some("Cast".to_owned()),
        name: Some(format!("{COPY}{weight}")),
        input: vec![weight.to_owned()],
        output: vec![format!("{COPY}{weight}")],
        attribute: vec![to],
        ..NodeProto::default()
    }
}
