//! Which gradient rule is whose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::reverse::{Reverse, RuleResult};
use crate::rules;

/// An operator's rule: it gives the gradients of the inputs that are wanted.
pub(crate) type Rule = fn(&mut Reverse<'_>) -> RuleResult;

/// One line of a table: domain, operator, rule.
pub(crate) type Entry = (&'static str, &'static str, Rule);

type Index = BTreeMap<(&'static str, &'static str), Rule>;

fn rules() -> &'static Index {
    static RULES: OnceLock<Index> = OnceLock::new();
    RULES.get_or_init(|| {
        let all = rules::TABLES.iter().flat_map(|table| table.iter());
        all.map(|(domain, op_type, rule)| ((*domain, *op_type), *rule)).collect()
    })
}

/// The rule of an operator.
pub(crate) fn rule(domain: &str, op_type: &str) -> Option<Rule> {
    rules().get(&(domain, op_type)).copied()
}

/// Whether an operator's outputs do not change with small changes of its inputs.
pub(crate) fn is_stop(domain: &str, op_type: &str) -> bool {
    static STOPS: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    domain.is_empty() && STOPS.get_or_init(|| rules::STOPS.iter().copied().collect()).contains(op_type)
}

/// Every operator that has a gradient rule, as domain and name, sorted.
pub fn differentiable_operators() -> impl Iterator<Item = (&'static str, &'static str)> {
    rules().keys().copied()
}
