//! One number in, one number out: `QLinearAdd`, `QLinearMul`, `QLinearSigmoid`, `QLinearLeakyRelu`,
//! `QLinearSoftmax`, `QLinearConcat`.

use onnxfit_graph::{Model, Node};

use super::{Made, Roles, Rule};

pub(super) const RULES: &[Rule] = &[
    ("Add", |_, _| Some(Roles::follower(2, Made::Always, "QLinearAdd"))),
    ("Mul", |_, _| Some(Roles::follower(2, Made::Always, "QLinearMul"))),
    ("Concat", |_, node| Some(Roles::follower(node.inputs.len(), Made::Always, "QLinearConcat"))),
    ("LeakyRelu", |_, _| Some(Roles::follower(1, Made::Always, "QLinearLeakyRelu"))),
    ("Sigmoid", |_, _| Some(Roles::follower(1, Made::Between(0.0, 1.0), "QLinearSigmoid"))),
    ("Softmax", softmax),
];

fn softmax(model: &Model, _: &Node) -> Option<Roles> {
    // Before 13 the operator flattens: another computation than that of one axis.
    (model.opset("") >= 13).then(|| Roles::follower(1, Made::Between(0.0, 1.0), "QLinearSoftmax"))
}
