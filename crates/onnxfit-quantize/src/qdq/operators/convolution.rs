//! Convolutions: `QLinearConv`; the transposed one has no integer kernel, only its weight shrinks.

use onnxfit_graph::{Model, Node};

use super::{Made, Role, Roles, Rule};
use crate::constants::float_dims;

pub(super) const RULES: &[Rule] = &[("Conv", convolution), ("ConvTranspose", transposed)];

fn convolution(model: &Model, node: &Node) -> Option<Roles> {
    let graph = &model.graph;
    let weight = node.input(1).filter(|weight| graph.value(*weight).is_fixed())?;
    let dims = float_dims(graph, weight).filter(|dims| dims.len() >= 3)?;
    let mut inputs = vec![Role::Activation, Role::Weight { axis: Some(0) }];
    if let Some(bias) = node.input(2) {
        // A bias that is computed cannot be 32-bit integers.
        float_dims(graph, bias).filter(|bias| *bias == [dims[0]])?;
        if !graph.value(bias).is_fixed() {
            return None;
        }
        inputs.push(Role::Bias { factor: 1.0 });
    }
    Some(Roles { inputs, made: Made::Always, is_layer: true, kernel: "QLinearConv" })
}

fn transposed(model: &Model, node: &Node) -> Option<Roles> {
    let graph = &model.graph;
    let weight = node.input(1).filter(|weight| graph.value(*weight).is_fixed())?;
    float_dims(graph, weight).filter(|dims| dims.len() >= 3)?;
    // Filters of a group share the second axis with those of the others.
    let axis = (node.int("group").unwrap_or(1) == 1).then_some(1);
    let inputs = vec![Role::Untouched, Role::Weight { axis }];
    Some(Roles { inputs, made: Made::Floats, is_layer: true, kernel: "DequantizeLinear" })
}
