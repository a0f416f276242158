//! Additions and transposes go into a `Gemm`: gemm_sum_fusion.cc, gemm_transpose_fusion.cc
//! (ORT 1.31). All providers.

use onnxfit_graph::{AttributeValue, Dim};

use super::Effect;
use crate::rewrite::net::{Net, Op, OpId};

/// `Sum(Gemm(a, b), c)` becomes `Gemm(a, b, c)`.
pub(super) fn sum(net: &mut Net, id: OpId) -> Effect {
    let op = net.op(id);
    let fits = net.opset() >= 11 && op.inputs.len() == 2 && !net.makes_graph_output(id) && net.n_output_edges(id) == 1;
    let Some(sum) = net.only_child(id, "Sum").filter(|sum| fits && net.op(*sum).inputs.len() == 2) else {
        return Effect::None;
    };
    let Some(product) = op.output(0).filter(|_| net.same_provider(id, sum)) else { return Effect::None };
    let other = if net.op(sum).input(0) == Some(product) { net.op(sum).input(1) } else { net.op(sum).input(0) };
    let Some(other) = other else { return Effect::None };
    let (Some(bias), Some([m, n])) = (net.arg(other).shape.as_deref(), net.arg(product).shape.as_deref()) else {
        return Effect::None;
    };
    let valid = match bias {
        [last] => last == n,
        [first, last] => {
            (*first == Dim::Known(1) && last == n) || (first == m && (*last == Dim::Known(1) || last == n))
        }
        _ => false,
    };
    if !valid {
        return Effect::None;
    }
    let mut attributes = op.attributes.clone();
    attributes.insert("beta".to_owned(), AttributeValue::Float(1.0));
    let inputs = vec![op.input(0), op.input(1), Some(other)];
    let name = format!("{}/GemmSumFusion/", op.name);
    let new = net.add_op(id, &name, Op { op_type: "Gemm".to_owned(), inputs, attributes, ..Op::default() });
    net.fuse(&[id, sum], new);
    Effect::Removed
}

/// A `Transpose` at an input that only `Gemm`s read.
fn transposed_input(net: &Net, id: OpId, input: usize) -> Option<OpId> {
    let parent = net.producer_of_input(id, input).filter(|parent| net.op(*parent).op_type == "Transpose")?;
    net.output_edges(parent).iter().all(|edge| net.op(edge.op).op_type == "Gemm").then_some(parent)
}

/// Transposes around a `Gemm` become its flags.
pub(super) fn transpose(net: &mut Net, id: OpId) -> Effect {
    let op = net.op(id);
    if net.n_output_edges(id) > 1 || !op.domain.is_empty() || op.inputs.len() < 2 {
        return Effect::None;
    }
    let before = (0..op.inputs.len()).any(|input| {
        transposed_input(net, id, input)
            .is_some_and(|parent| !net.makes_graph_output(parent) && net.same_provider(id, parent))
    });
    let after = net.only_child(id, "Transpose").filter(|child| {
        net.opset() >= 11
            && !net.makes_graph_output(id)
            && op.inputs.len() <= 2
            && net.n_input_edges(*child) == 1
            && net.same_provider(id, *child)
    });
    if !before && after.is_none() {
        return Effect::None;
    }
    let flag = |name: &str| op.int(name).unwrap_or(0) != 0;
    let mut flags = [flag("transA"), flag("transB")];
    let mut inputs = op.inputs.clone();
    let mut removed = Vec::new();
    for input in 0..2 {
        if let Some(parent) = transposed_input(net, id, input) {
            flags[input] = !flags[input];
            if net.n_output_edges(parent) == 1 {
                removed.push(parent);
            }
            inputs[input] = net.op(parent).input(0);
        }
    }
    let after = net.first_child(id).filter(|child| op.inputs.len() <= 2 && net.op(*child).op_type == "Transpose");
    if after.is_some() {
        // (AB)' = B'A'
        inputs.swap(0, 1);
        flags = [!flags[1], !flags[0]];
    }
    let mut attributes = op.attributes.clone();
    attributes.insert("transA".to_owned(), AttributeValue::Int(i64::from(flags[0])));
    attributes.insert("transB".to_owned(), AttributeValue::Int(i64::from(flags[1])));
    let name = format!("{}/GemmTransposeFusion/", op.name);
    let new = net.add_op(id, &name, Op { op_type: "Gemm".to_owned(), inputs, attributes, ..Op::default() });
    removed.push(id);
    removed.extend(after);
    net.fuse(&removed, new);
    Effect::Removed
}
