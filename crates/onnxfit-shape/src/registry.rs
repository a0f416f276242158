//! Which rule is whose.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::context::RuleContext;
use crate::rules;

/// An operator's rule. It sets what it knows of the outputs; `None` says that it stopped early.
pub(crate) type Rule = fn(&mut RuleContext<'_, '_>) -> Option<()>;

/// One line of a table: domain, operator, rule.
pub(crate) type Entry = (&'static str, &'static str, Rule);

type Index = BTreeMap<(&'static str, &'static str), Rule>;

fn rules() -> &'static Index {
    static RULES: OnceLock<Index> = OnceLock::new();
    RULES.get_or_init(|| {
        let entries = rules::TABLES.iter().flat_map(|table| table.iter());
        entries.map(|(domain, op_type, rule)| ((*domain, *op_type), *rule)).collect()
    })
}

/// The rule of an operator.
pub(crate) fn rule(domain: &str, op_type: &str) -> Option<Rule> {
    rules().get(&(domain, op_type)).copied()
}

/// Whether an operator has a rule.
pub fn has_rule(domain: &str, op_type: &str) -> bool {
    rules().contains_key(&(domain, op_type))
}

/// Every operator that has a rule, as domain and name, sorted.
pub fn operators() -> impl Iterator<Item = (&'static str, &'static str)> {
    rules().keys().copied()
}
