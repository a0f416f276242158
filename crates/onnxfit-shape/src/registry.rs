//! Which rule is whose.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use onnxfit_base::Operators;

use crate::context::RuleContext;
use crate::rules;

/// An operator's rule. It sets what it knows of the outputs; `None` says that it stopped early.
pub(crate) type Rule = fn(&mut RuleContext<'_, '_>) -> Option<()>;

/// One line of a table: domain, operator, rule.
pub(crate) type Entry = (&'static str, &'static str, Rule);

static RULES: LazyLock<Operators<Rule>> = LazyLock::new(|| Operators::of(entries()));

fn entries() -> impl Iterator<Item = Entry> {
    rules::TABLES.iter().flat_map(|table| table.iter().copied())
}

/// The rule of an operator.
pub(crate) fn rule(domain: &str, op_type: &str) -> Option<Rule> {
    RULES.get(domain, op_type).copied()
}

/// Whether an operator has a rule.
pub fn has_rule(domain: &str, op_type: &str) -> bool {
    rule(domain, op_type).is_some()
}

/// Every operator that has a rule, as domain and name, sorted.
pub fn operators() -> impl Iterator<Item = (&'static str, &'static str)> {
    let operators: BTreeSet<(&str, &str)> = entries().map(|(domain, op_type, _)| (domain, op_type)).collect();
    operators.into_iter()
}
