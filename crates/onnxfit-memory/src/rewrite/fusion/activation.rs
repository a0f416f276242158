//! An activation goes into the convolution or `Gemm` before it: conv_activation_fusion.cc,
//! gemm_activation_fusion.cc (ORT 1.31). CPU provider only.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::{CPU, runs_on};
use crate::rewrite::content;
use crate::rewrite::net::{Net, Op, OpId};
use crate::rewrite::{Context, MS};

fn text(value: &str) -> AttributeValue {
    AttributeValue::String(value.as_bytes().to_vec().into())
}

/// `Conv` and its activation become `FusedConv`.
pub(crate) fn conv(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Conv")) && runs_on(net, id, CPU) && net.has_only_edges(id, 1);
        if !fits || net.input_elem(id, 0) != Some(DataType::Float) {
            continue;
        }
        let Some(next) = net.first_child(id).filter(|next| net.same_provider(id, *next)) else { continue };
        let Some(parameters) = conv_parameters(net, next) else { continue };
        let (op, activation) = (net.op(id), net.op(next));
        let mut attributes = op.attributes.clone();
        attributes.insert("activation".to_owned(), text(&activation.op_type));
        if !parameters.is_empty() {
            attributes.insert("activation_params".to_owned(), AttributeValue::Floats(parameters));
        }
        let new = Op {
            name: op.name.clone(),
            op_type: "FusedConv".to_owned(),
            domain: MS.to_owned(),
            inputs: op.inputs.clone(),
            attributes,
            provider: op.provider,
            ..Op::default()
        };
        let new = net.push_op(new);
        net.fuse(&[id, next], new);
        n_fused += 1;
    }
    n_fused
}

/// The numbers that an activation passes on; `None` if it cannot be fused.
fn conv_parameters(net: &Net, id: OpId) -> Option<Vec<f32>> {
    let op = net.op(id);
    if !op.domain.is_empty() {
        return None;
    }
    match op.op_type.as_str() {
        "Relu" | "Sigmoid" | "Tanh" => Some(Vec::new()),
        "LeakyRelu" => Some(vec![op.float("alpha").unwrap_or(0.01)]),
        "HardSigmoid" => Some(vec![op.float("alpha").unwrap_or(0.2), op.float("beta").unwrap_or(0.5)]),
        "Clip" => {
            let bound = |attribute: &str, input: usize, default: f32| {
                if net.opset() < 11 {
                    return Some(op.float(attribute).unwrap_or(default));
                }
                match op.input(input) {
                    None => Some(default),
                    Some(arg) => content::first_float(net.constant(arg)?).map(|value| value as f32),
                }
            };
            Some(vec![bound("min", 1, f32::MIN)?, bound("max", 2, f32::MAX)?])
        }
        _ => None,
    }
}

/// `Gemm` and its activation become `FusedGemm`.
pub(crate) fn gemm(net: &mut Net, _: &Context<'_>) -> usize {
    let fusable = [
        "Elu",
        "HardSigmoid",
        "LeakyRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tanh",
        "ThresholdedRelu",
    ];
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Gemm"))
            && runs_on(net, id, CPU)
            && net.n_output_edges(id) == 1
            && !net.makes_graph_output(id);
        if !fits || net.op(id).output(0).and_then(|arg| net.arg(arg).elem) != Some(DataType::Float) {
            continue;
        }
        let Some(next) = net.first_child(id).filter(|next| net.same_provider(id, *next)) else { continue };
        let (op, activation) = (net.op(id), net.op(next));
        if !activation.domain.is_empty() || !fusable.contains(&activation.op_type.as_str()) {
            continue;
        }
        let mut attributes = op.attributes.clone();
        attributes.insert("activation".to_owned(), text(&activation.op_type));
        for (name, value) in &activation.attributes {
            attributes.insert(format!("activation_{name}"), value.clone());
        }
        let name = format!("fused {}", op.name);
        let inputs = op.inputs.clone();
        let new = Op { op_type: "FusedGemm".to_owned(), domain: MS.to_owned(), inputs, attributes, ..Op::default() };
        let new = net.add_op(id, &name, new);
        net.fuse(&[id, next], new);
        n_fused += 1;
    }
    n_fused
}
