//! Rewrite rules: small changes around one node, tried at every node in topological order.
//!
//! rule_based_graph_transformer.cc and graph_transformer_utils.cc (ORT 1.31).

mod conv;
mod eliminate;
mod gemm;
mod matmul_batch_norm;
mod noop;
mod not_where;
mod pad;
mod relu_clip;
mod relu_quantize;

use std::sync::LazyLock;

use onnxfit_base::Operators;

use super::Context;
use super::net::{Net, OpId};

/// What a rule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The node is still there.
    Changed,
    /// The node is gone: no other rule sees it.
    Removed,
}

/// A rule and the operator it looks for.
struct Rule {
    name: &'static str,
    op_type: &'static str,
    apply: fn(&mut Net, OpId) -> Effect,
}

const fn rule(name: &'static str, op_type: &'static str, apply: fn(&mut Net, OpId) -> Effect) -> Rule {
    Rule { name, op_type, apply }
}

/// In ONNX Runtime's order: a node sees the rules for its operator from first to last.
const LEVEL_1: &[Rule] = &[
    rule("EliminateIdentity", "Identity", eliminate::identity),
    rule("EliminateSlice", "Slice", eliminate::slice),
    rule("UnsqueezeElimination", "Unsqueeze", eliminate::unsqueeze),
    rule("EliminateDropout", "Dropout", eliminate::dropout),
    rule("ExpandElimination", "Expand", eliminate::expand),
    rule("CastElimination", "Cast", eliminate::cast),
    rule("PreShapeNodeElimination", "Cast", eliminate::before_shape),
    rule("NoopElimination", "Add", noop::noop),
    rule("NoopElimination", "Sub", noop::noop),
    rule("NoopElimination", "Mul", noop::noop),
    rule("NoopElimination", "Div", noop::noop),
    rule("DivMulFusion", "Div", noop::div_mul),
    rule("FuseReluClip", "Relu", relu_clip::relu_clip),
    rule("GemmSumFusion", "Gemm", gemm::sum),
    rule("GemmTransposeFusion", "Gemm", gemm::transpose),
    rule("NotWhereFusion", "Where", not_where::not_where),
    rule("ConvAddFusion", "Conv", conv::add),
    rule("ConvMulFusion", "Conv", conv::mul),
    rule("ConvBNFusion", "Conv", conv::batch_norm),
    rule("Pad_Fusion", "Pad", pad::pad),
    rule("MatMul_BatchNormalization_Fusion", "MatMul", matmul_batch_norm::matmul_batch_norm),
];

const LEVEL_2: &[Rule] = &[
    rule("ReluQuantRewrite", "Relu", relu_quantize::relu_quantize),
    rule("GemmTransposeFusion", "Gemm", gemm::transpose),
];

/// The rules of level 1; returns how many nodes they changed.
pub(super) fn level_1(net: &mut Net, context: &Context<'_>) -> usize {
    static HAS_RULES: LazyLock<Operators<()>> = LazyLock::new(|| operators(LEVEL_1));
    apply(net, context, LEVEL_1, &HAS_RULES)
}

/// The rules of level 2.
pub(super) fn level_2(net: &mut Net, context: &Context<'_>) -> usize {
    static HAS_RULES: LazyLock<Operators<()>> = LazyLock::new(|| operators(LEVEL_2));
    apply(net, context, LEVEL_2, &HAS_RULES)
}

/// The operators that some rule looks for.
fn operators(rules: &[Rule]) -> Operators<()> {
    Operators::of(rules.iter().map(|rule| ("*", rule.op_type, ())))
}

fn apply(net: &mut Net, context: &Context<'_>, rules: &[Rule], has_rules: &Operators<()>) -> usize {
    let disabled = &context.options.disabled_optimizers;
    let mut n_changed = 0;
    for id in net.topological_order() {
        if net.get(id).is_none_or(|op| has_rules.get("", &op.op_type).is_none()) {
            continue;
        }
        for rule in rules {
            let Some(op) = net.get(id) else { break };
            if op.op_type != rule.op_type || disabled.iter().any(|name| name == rule.name) {
                continue;
            }
            match (rule.apply)(net, id) {
                Effect::None => {}
                Effect::Changed => n_changed += 1,
                Effect::Removed => {
                    n_changed += 1;
                    break;
                }
            }
        }
    }
    n_changed
}
