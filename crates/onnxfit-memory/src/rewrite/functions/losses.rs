//! Losses: the CPU provider of an inference build has no kernel for them.
//!
//! The functions of ONNX 13's operator definitions (`defs/math/defs.cc`); the bodies of opset 12,
//! whose reductions take axes as attributes, are not written out.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::super::net::{ArgId, Net, Op, OpId};
use super::Body;

const OPSET_MIN: i64 = 13;

fn reduction(op: &Op) -> String {
    match op.attributes.get("reduction") {
        Some(AttributeValue::String(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => "mean".to_owned(),
    }
}

/// `NegativeLogLikelihoodLoss`.
pub(super) fn negative_log_likelihood(net: &mut Net, id: OpId) -> bool {
    let Some(elem) = net.input_elem(id, 0).filter(|_| net.opset() >= OPSET_MIN) else { return false };
    let op = net.op(id);
    let (reduction, ignored) = (reduction(op), op.int("ignore_index"));
    let is_weighted = op.input(2).is_some();
    let mut body = Body::new(net, id, &["input", "target", "weight"]);
    for (name, number) in [("const_zero", 0), ("const_one", 1), ("axes", 1)] {
        body.constant(name, TensorProto::from_i64("", &[1], &[number]));
    }
    body.add("expanded_target", "Unsqueeze", &["target", "axes"]);
    let zero = if elem == DataType::Float { "const_zero_float" } else { "const_zero_casted" };
    let cast = |body: &mut Body<'_>, from: &'static str, to: &'static str| {
        if elem != DataType::Float {
            body.add_with(to, "Cast", &[from], &[("to", i64::from(elem.number()))]);
        }
    };
    let mut taken = "input_gather_element";
    if let Some(ignored) = ignored {
        body.constant("const_ignore_index", TensorProto::from_i64("", &[1], &[ignored]));
        body.add("const_zero_target_typed", "Sub", &["expanded_target", "expanded_target"]);
        let wide = i64::from(DataType::Int64.number());
        body.add_with("expanded_target_int64", "Cast", &["expanded_target"], &[("to", wide)]);
        body.add("mask", "Equal", &["expanded_target_int64", "const_ignore_index"]);
        body.add("transform_targets", "Where", &["mask", "const_zero_target_typed", "expanded_target"]);
        body.add_with("input_gather_element", "GatherElements", &["input", "transform_targets"], &[("axis", 1)]);
        body.constant("const_zero_float", TensorProto::from_f32("", &[1], &[0.0]));
        cast(&mut body, "const_zero_float", "const_zero_casted");
        taken = "input_gather_element_transform";
        body.add(taken, "Where", &["mask", zero, "input_gather_element"]);
    } else {
        body.add_with("input_gather_element", "GatherElements", &["input", "expanded_target"], &[("axis", 1)]);
    }
    body.add("loss_NCdd", "Neg", &[taken]);
    body.add("loss_N1dd", "Slice", &["loss_NCdd", "const_zero", "const_one", "const_one"]);
    match (ignored, is_weighted) {
        (None, false) => {
            let squeezed = body.add("loss_Ndd", "Squeeze", &["loss_N1dd", "axes"]);
            let last = match reduction.as_str() {
                "none" => squeezed,
                "mean" => reduce(&mut body, "loss", "ReduceMean", "loss_Ndd"),
                _ => reduce(&mut body, "loss", "ReduceSum", "loss_Ndd"),
            };
            return body.finish(last);
        }
        (None, true) => {
            body.add("weight_gather", "Gather", &["weight", "target"]);
        }
        (Some(_), false) => {
            body.add("squeeze_mask", "Squeeze", &["mask", "axes"]);
            body.constant("const_one_float", TensorProto::from_f32("", &[1], &[1.0]));
            cast(&mut body, "const_one_float", "const_one_casted");
            let one = if elem == DataType::Float { "const_one_float" } else { "const_one_casted" };
            body.add("weight_gather", "Where", &["squeeze_mask", zero, one]);
        }
        (Some(_), true) => {
            body.add("weight_gather_temp", "Gather", &["weight", "transform_targets"]);
            body.add("weight_gather_temp_1", "Where", &["mask", zero, "weight_gather_temp"]);
            body.add("weight_gather", "Squeeze", &["weight_gather_temp_1", "axes"]);
        }
    }
    body.add("loss_unweighted", "Squeeze", &["loss_N1dd", "axes"]);
    let weighted = body.add("loss_Ndd", "Mul", &["loss_unweighted", "weight_gather"]);
    let last = match reduction.as_str() {
        "none" => weighted,
        "mean" => {
            reduce(&mut body, "loss_sum", "ReduceSum", "loss_Ndd");
            reduce(&mut body, "weight_gather_sum", "ReduceSum", "weight_gather");
            body.add("loss", "Div", &["loss_sum", "weight_gather_sum"])
        }
        _ => reduce(&mut body, "loss", "ReduceSum", "loss_Ndd"),
    };
    body.finish(last)
}

fn reduce(body: &mut Body<'_>, output: &'static str, op_type: &str, input: &'static str) -> OpId {
    let id = body.add(output, op_type, &[input]);
    body.net.op_mut(id).attributes.insert("keepdims".to_owned(), AttributeValue::Int(0));
    id
}

/// `SoftmaxCrossEntropyLoss`: by the loss above, which gives way in its turn.
pub(super) fn softmax_cross_entropy(net: &mut Net, id: OpId) -> bool {
    if net.opset() < OPSET_MIN {
        return false;
    }
    let op = net.op(id);
    let passed: Vec<(String, AttributeValue)> = ["reduction", "ignore_index"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), op.attributes.get(*name)?.clone())))
        .collect();
    let probabilities: Option<ArgId> = op.output(1);
    let mut body = Body::new(net, id, &["scores", "labels", "weights"]);
    body.constant("Shape3D", TensorProto::from_i64("", &[3], &[0, 0, -1]));
    let turned = AttributeValue::Ints(vec![0, 2, 1]);
    body.add("X_NCD", "Reshape", &["scores", "Shape3D"]);
    let turn = body.add("X_NDC", "Transpose", &["X_NCD"]);
    body.net.op_mut(turn).attributes.insert("perm".to_owned(), turned.clone());
    body.add_with("X_LogSM", "LogSoftmax", &["X_NDC"], &[("axis", 2)]);
    let turn = body.add("X_LogSM_NCD", "Transpose", &["X_LogSM"]);
    body.net.op_mut(turn).attributes.insert("perm".to_owned(), turned);
    body.add("X_shape", "Shape", &["scores"]);
    let log = body.add("X_Log", "Reshape", &["X_LogSM_NCD", "X_shape"]);
    // The loss that takes its place asks for the type.
    let elem = body.net.input_elem(id, 0);
    if let Some(log) = body.net.op(log).output(0) {
        body.net.arg_mut(log).elem = elem;
    }
    let copied = probabilities.map(|_| body.add("log_prob", "Identity", &["X_Log"]));
    let inputs: &[&str] = if body.has("weights") { &["X_Log", "labels", "weights"] } else { &["X_Log", "labels"] };
    let last = body.add("output", "NegativeLogLikelihoodLoss", inputs);
    body.net.op_mut(last).attributes.extend(passed);
    let net = body.finish_in(last);
    if let Some(copied) = copied {
        net.set_output(copied, 0, probabilities);
    }
    true
}
