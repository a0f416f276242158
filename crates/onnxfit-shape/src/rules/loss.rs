//! Losses and optimizers of training graphs.

use crate::context::RuleContext;
use crate::registry::Entry;

const TRAINING: &str = "ai.onnx.preview.training";

pub(super) const TABLE: &[Entry] = &[
    ("", "NegativeLogLikelihoodLoss", loss),
    ("", "SoftmaxCrossEntropyLoss", loss),
    (TRAINING, "Adam", optimizer),
    (TRAINING, "Adagrad", optimizer),
    (TRAINING, "Momentum", optimizer),
    (TRAINING, "Gradient", gradient),
];

/// One loss for all, or one for every target.
fn loss(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    match context.node.string("reduction") {
        Some("none") => context.set_like(0, element_type, 1),
        _ => context.set(0, element_type, Some(Vec::new())),
    }
    context.set_like(1, element_type, 0);
    Some(())
}

/// Rate and step count, then all tensors, all gradients, all states; out come the tensors and
/// states, updated.
fn optimizer(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let (n_in, n_out) = match context.node.op_type.as_str() {
        "Adam" => (4, 3),
        _ => (3, 2),
    };
    let n_tensors = context.n_inputs().checked_sub(2)? / n_in;
    for output in 0..(n_out * n_tensors).min(context.n_outputs()) {
        // States follow the gradients, which do not come out.
        let input = 2 + output + if output >= n_tensors { n_tensors } else { 0 };
        context.set_like(output, context.element_type(input), input);
    }
    Some(())
}

fn gradient(context: &mut RuleContext<'_, '_>) -> Option<()> {
    for output in 0..context.n_outputs() {
        context.set_like(output, context.element_type(output), output);
    }
    Some(())
}
