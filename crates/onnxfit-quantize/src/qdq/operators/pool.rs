//! Pools: `QLinearAveragePool`, `QLinearGlobalAveragePool`; the largest of integers is an integer.

use onnxfit_graph::{Model, Node};

use super::{Made, Roles, Rule};

pub(super) const RULES: &[Rule] = &[
    ("AveragePool", |_, _| Some(Roles::follower(1, Made::Always, "QLinearAveragePool"))),
    ("GlobalAveragePool", |_, _| Some(Roles::follower(1, Made::Always, "QLinearGlobalAveragePool"))),
    ("MaxPool", largest),
];

fn largest(model: &Model, node: &Node) -> Option<Roles> {
    // Integers came with 12; places of the largest are no numbers.
    let only_values = node.outputs.iter().skip(1).flatten().next().is_none();
    (model.opset("") >= 12 && only_values).then(|| Roles::follower(1, Made::AsInput, "MaxPool"))
}
