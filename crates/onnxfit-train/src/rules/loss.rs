//! Cross entropy with class indices.
//!
//! Composed of primitives on the way forward, because the CUDA provider has no kernel for it; on
//! the way back in one piece: probabilities less one at the label.

use onnxfit_onnx::DataType;

use crate::emit::{int, text};
use crate::forward::Forward;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::{Tape, Var};

pub(crate) const TABLE: &[Entry] =
    &[("", "NegativeLogLikelihoodLoss", backward), ("", "SoftmaxCrossEntropyLoss", backward)];

/// What a node asks for.
struct Setting {
    is_softmax: bool,
    ignore_index: Option<i64>,
    reduction: String,
    element_type: DataType,
}

/// What both ways share; written once, because the tape knows a computation it has seen.
struct Parts {
    log_probability: Var,
    /// The labels `[N, 1, ..]`, zero where ignored.
    places: Var,
    /// What each label counts for `[N, ..]`; `None` if all count one.
    weight: Option<Var>,
    /// The sum of what the labels count for.
    total: Var,
}

impl Setting {
    fn of(node: &onnxfit_graph::Node, element_type: DataType) -> Self {
        Self {
            is_softmax: node.is("SoftmaxCrossEntropyLoss"),
            ignore_index: node.int("ignore_index"),
            reduction: node.string("reduction").unwrap_or("mean").to_owned(),
            element_type,
        }
    }

    fn parts(&self, tape: &mut Tape, scores: Var, labels: Var, class_weights: Option<Var>) -> Parts {
        let log_probability =
            if self.is_softmax { tape.op_with("LogSoftmax", &[scores], vec![int("axis", 1)]) } else { scores };
        let labels = tape.cast(labels, DataType::Int64);
        let (safe, mut weight) = match self.ignore_index {
            None => (labels, None),
            Some(ignored) => {
                let ignored = tape.int(ignored);
                let is_ignored = tape.equal(labels, ignored);
                let zero = tape.int(0);
                let counts = tape.op("Not", &[is_ignored]);
                (tape.select(is_ignored, zero, labels), Some(tape.cast(counts, self.element_type)))
            }
        };
        if let Some(class_weights) = class_weights {
            let own = tape.op("Gather", &[class_weights, safe]);
            weight = Some(weight.map_or(own, |weight| tape.mul(weight, own)));
        }
        let total = match weight {
            Some(weight) => tape.sum_all(weight),
            None => {
                let count = tape.size(labels);
                tape.cast(count, self.element_type)
            }
        };
        let places = tape.unsqueeze(safe, &[1]);
        Parts { log_probability, places, weight, total }
    }
}

pub(crate) fn forward(f: &mut Forward<'_>) -> Result<bool, Unsupported> {
    let setting = Setting::of(f.node, f.element_type());
    let (scores, labels) = (f.x(0)?, f.x(1)?);
    let class_weights = if f.node.input(2).is_some() { Some(f.x(2)?) } else { None };
    let parts = setting.parts(f.tape, scores, labels, class_weights);
    let picked = f.tape.op_with("GatherElements", &[parts.log_probability, parts.places], vec![int("axis", 1)]);
    let picked = f.tape.squeeze(picked, &[1]);
    let weighted = parts.weight.map_or(picked, |weight| f.tape.mul(picked, weight));
    let loss = match setting.reduction.as_str() {
        "none" => f.tape.neg(weighted),
        reduction => {
            let sum = f.tape.sum_all(weighted);
            let sum = f.tape.neg(sum);
            if reduction == "mean" { f.tape.div(sum, parts.total) } else { sum }
        }
    };
    f.set_output(0, loss)?;
    if f.node.output(1).is_some() {
        f.set_output(1, parts.log_probability)?;
    }
    Ok(true)
}

fn backward(c: &mut Reverse<'_>) -> RuleResult {
    let (scores, labels, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    if c.output_gradients.get(1).copied().flatten().is_some() {
        return unsupported("is needed for its second output too");
    }
    let setting = Setting::of(c.node, c.element_type());
    let class_weights = if c.has(2) { Some(c.x(2)?) } else { None };
    let parts = setting.parts(c.tape, scores, labels, class_weights);
    // What each label's term is multiplied by, `[N, 1, ..]` or one number.
    let each = match setting.reduction.as_str() {
        "mean" => c.div(dy, parts.total),
        _ => dy,
    };
    let each = parts.weight.map_or(each, |weight| c.mul(weight, each));
    let is_scalar = parts.weight.is_none() && setting.reduction != "none";
    let shape = c.shape(parts.places);
    if setting.is_softmax {
        let probability = c.exp(parts.log_probability);
        let minus_one = c.filled(shape, setting.element_type, -1.0);
        let attributes = vec![int("axis", 1), text("reduction", "add")];
        let difference = c.op_with("ScatterElements", &[probability, parts.places, minus_one], attributes);
        let each = if is_scalar { each } else { c.unsqueeze(each, &[1]) };
        let gradient = c.mul(difference, each);
        c.give(0, gradient);
        return Ok(());
    }
    let each = c.neg(each);
    let updates = if is_scalar { c.expand(each, shape) } else { c.unsqueeze(each, &[1]) };
    let zeros = c.zeros_like(0)?;
    let gradient = c.op_with("ScatterElements", &[zeros, parts.places, updates], vec![int("axis", 1)]);
    c.give(0, gradient);
    Ok(())
}
