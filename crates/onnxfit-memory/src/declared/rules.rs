//! The operators' own inference rules, one file a family, found through one registry.
//!
//! Restated from the ONNX operator schemas (release 1.21) and ONNX Runtime's contributed ones.

mod attention;
mod broadcast;
mod contributed;
mod convolution;
mod elementwise;
mod generator;
mod movement;
mod q_linear;
mod quantization;
mod reduction;
mod slicing;

use std::sync::LazyLock;

use onnxfit_base::Operators;

use super::query::{Inferred, Query};

/// A rule: what each output is, as far as known.
type Rule = fn(&Query<'_>) -> Vec<Inferred>;

/// One line of the registry: domain, operators, rule.
type Entry = (&'static str, &'static [&'static str], Rule);

/// All families.
const FAMILIES: &[&[Entry]] = &[
    elementwise::RULES,
    broadcast::RULES,
    convolution::RULES,
    movement::RULES,
    slicing::RULES,
    reduction::RULES,
    generator::RULES,
    quantization::RULES,
    contributed::RULES,
    attention::RULES,
    q_linear::RULES,
];

/// What the operator's rule says; nothing for an operator without one.
pub(super) fn apply(query: &Query<'_>) -> Vec<Inferred> {
    static TABLE: LazyLock<Operators<Rule>> = LazyLock::new(|| {
        let entries = FAMILIES.iter().flat_map(|family| family.iter());
        Operators::of(
            entries.flat_map(|(domain, operators, rule)| operators.iter().map(|name| (*domain, *name, *rule))),
        )
    });
    TABLE.get(&query.node.domain, &query.node.op_type).map(|rule| rule(query)).unwrap_or_default()
}

/// One output.
fn one(inferred: Inferred) -> Vec<Inferred> {
    vec![inferred]
}
