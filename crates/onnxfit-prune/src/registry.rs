//! Which rule says how an operator couples axes.

use crate::context::Context;
use crate::mend::Mender;
use crate::rules::TABLES;

/// Says which axes go together; `None` when that cannot be proved, and then all of the node's
/// tensors stay whole.
pub(crate) type Rule = fn(&mut Context<'_, '_>) -> Option<()>;

/// Makes a node right again whose tensors were cut: attributes and shapes that name a size.
pub(crate) type Mend = fn(&Context<'_, '_>, &mut Mender<'_>) -> Option<()>;

/// Operators of one domain with one rule.
pub(crate) struct Entry {
    pub(crate) domain: &'static str,
    pub(crate) op_types: &'static [&'static str],
    pub(crate) rule: Rule,
    pub(crate) mend: Option<Mend>,
}

/// What is known of an operator.
pub(crate) fn entry(domain: &str, op_type: &str) -> Option<&'static Entry> {
    let mut entries = TABLES.iter().flat_map(|table| table.iter());
    entries.find(|entry| entry.domain == domain && entry.op_types.contains(&op_type))
}

/// Every operator that has a rule, as `domain::Operator` outside ONNX's own domain.
pub fn coupled_operators() -> Vec<String> {
    let mut names: Vec<String> = TABLES
        .iter()
        .flat_map(|table| table.iter())
        .flat_map(|entry| {
            entry.op_types.iter().map(|op_type| match entry.domain {
                "" => (*op_type).to_owned(),
                domain => format!("{domain}::{op_type}"),
            })
        })
        .collect();
    names.sort();
    names
}
