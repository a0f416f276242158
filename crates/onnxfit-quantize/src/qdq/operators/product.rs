//! Matrix products: `QLinearMatMul`, `MatMulIntegerToFloat`, `QGemm`.

use onnxfit_graph::{Model, Node};

use super::{Made, Role, Roles, Rule};
use crate::constants::float_dims;

pub(super) const RULES: &[Rule] = &[("MatMul", product), ("Gemm", with_bias)];

fn product(model: &Model, node: &Node) -> Option<Roles> {
    let graph = &model.graph;
    let (left, right) = (node.input(0)?, node.input(1)?);
    if graph.constant_tensor(left).is_some() {
        return None;
    }
    let right = match float_dims(graph, right) {
        // Only a matrix has columns of its own scale.
        Some(dims) if graph.value(right).is_fixed() && dims.len() >= 2 => {
            Role::Weight { axis: (dims.len() == 2).then_some(1) }
        }
        Some(_) => return None,
        None if graph.constant_tensor(right).is_some() => return None,
        None => Role::Activation,
    };
    let inputs = vec![Role::Activation, right];
    Some(Roles { inputs, made: Made::IfRead, is_layer: true, kernel: "QLinearMatMul" })
}

fn with_bias(model: &Model, node: &Node) -> Option<Roles> {
    let graph = &model.graph;
    let (left, right) = (node.input(0)?, node.input(1)?);
    let dims = float_dims(graph, right).filter(|dims| dims.len() == 2 && graph.value(right).is_fixed())?;
    if graph.constant_tensor(left).is_some() {
        return None;
    }
    let axis = if node.int("transB").unwrap_or(0) != 0 { 0 } else { 1 };
    let mut inputs = vec![Role::Activation, Role::Weight { axis: Some(axis) }];
    if let Some(bias) = node.input(2) {
        let fits = float_dims(graph, bias).filter(|bias| *bias == [dims[axis]] || *bias == [1, dims[axis]]);
        if fits.is_none() || !graph.value(bias).is_fixed() || node.float("beta").unwrap_or(1.0) != 1.0 {
            return None;
        }
        let factor = node.float("alpha").unwrap_or(1.0);
        if factor <= 0.0 {
            return None;
        }
        inputs.push(Role::Bias { factor });
    }
    Some(Roles { inputs, made: Made::IfRead, is_layer: true, kernel: "QGemm" })
}
