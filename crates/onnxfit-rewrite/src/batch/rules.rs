//! Which rule an operator follows.

use onnxfit_graph::Node;

use super::{Rows, View};

/// Says how the outputs depend on the rows, or why they must not be cut.
pub(super) type Rule = fn(&View<'_>) -> Result<Vec<Rows>, String>;

/// The rule of a node; `None` when nothing is known of its operator.
pub(super) fn rule(node: &Node) -> Option<Rule> {
    find(node, &[super::data::RULES, super::layout::RULES, super::neural::RULES])
}

/// The rule of a node that reads or makes row numbers.
pub(super) fn number_rule(node: &Node) -> Option<Rule> {
    find(node, &[super::numbers::RULES])
}

fn find(node: &Node, tables: &[Table]) -> Option<Rule> {
    let standard = matches!(node.domain.as_str(), "" | "com.microsoft");
    let mut found = tables.iter().flat_map(|table| table.iter()).filter(|_| standard);
    found.find(|(names, _)| names.contains(&node.op_type.as_str())).map(|(_, rule)| *rule)
}

/// An axis as a position: negative ones count from the end.
pub(super) fn position(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    usize::try_from(if axis < 0 { axis + rank } else { axis }).ok().filter(|axis| (*axis as i64) < rank)
}

/// Operators by rule.
pub(super) type Table = &'static [(&'static [&'static str], Rule)];
