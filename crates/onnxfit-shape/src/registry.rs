//! Which rule is whose.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::context::RuleContext;
use crate::rules;
use crate::state::Mode;

/// An operator's rule. It sets what it knows of the outputs; `None` says that it stopped early.
pub(crate) type Rule = fn(&mut RuleContext<'_, '_>) -> Option<()>;

/// One line of a table: domain, operator, rule.
pub(crate) type Entry = (&'static str, &'static str, Rule);

type Index = BTreeMap<(&'static str, &'static str), Rule>;

fn index(cell: &'static OnceLock<Index>, tables: &[&[Entry]]) -> &'static Index {
    cell.get_or_init(|| {
        tables
            .iter()
            .flat_map(|table| table.iter())
            .map(|(domain, op_type, rule)| ((*domain, *op_type), *rule))
            .collect()
    })
}

fn rules() -> &'static Index {
    static RULES: OnceLock<Index> = OnceLock::new();
    index(&RULES, rules::TABLES)
}

/// The rule of an operator.
pub(crate) fn rule(domain: &str, op_type: &str, mode: Mode) -> Option<Rule> {
    static WEAKER: OnceLock<Index> = OnceLock::new();
    let find = |index: &Index| index.get(&(domain, op_type)).copied();
    match mode {
        Mode::OnnxRuntime => find(index(&WEAKER, rules::WEAKER_TABLES)).or_else(|| find(rules())),
        Mode::Full => find(rules()),
    }
}

/// Whether an operator has a rule.
pub fn has_rule(domain: &str, op_type: &str) -> bool {
    rules().contains_key(&(domain, op_type))
}

/// Every operator that has a rule, as domain and name, sorted.
pub fn operators() -> impl Iterator<Item = (&'static str, &'static str)> {
    rules().keys().copied()
}
