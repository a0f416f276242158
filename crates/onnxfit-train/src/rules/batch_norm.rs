//! Batch normalization: with stored statistics, or with the batch's own.
//!
//! The training form is composed of primitives on the way forward too: the CUDA provider has no
//! training mode for it.

use onnxfit_graph::{Graph, ValueId};
use onnxfit_onnx::DataType;

use crate::forward::Forward;
use crate::gradient::{BatchNorm, Gradient};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::{Tape, Var};

pub(crate) const TABLE: &[Entry] = &[("", "BatchNormalization", backward)];

/// What both ways share; written once, because the tape knows a computation it has seen.
struct Normalized {
    /// The input less its mean.
    centered: Var,
    /// One over the standard deviation, per channel.
    inverse: Var,
    mean: Var,
    variance: Var,
}

fn axes_of(rank: usize) -> Vec<i64> {
    [0].into_iter().chain(2..rank as i64).collect()
}

fn normalize(tape: &mut Tape, x: Var, rank: usize, element_type: DataType, epsilon: f64) -> Normalized {
    let axes = axes_of(rank);
    let mean = tape.reduce_mean(x, &axes, true);
    let centered = tape.sub(x, mean);
    let square = tape.mul(centered, centered);
    let variance = tape.reduce_mean(square, &axes, true);
    let inverse = inverse_deviation(tape, variance, element_type, epsilon);
    Normalized { centered, inverse, mean, variance }
}

pub(super) fn inverse_deviation(tape: &mut Tape, variance: Var, element_type: DataType, epsilon: f64) -> Var {
    let epsilon = tape.number(element_type, epsilon);
    let sum = tape.add(variance, epsilon);
    let deviation = tape.sqrt(sum);
    tape.reciprocal(deviation)
}

/// A vector with one entry per channel, so that it broadcasts over a tensor of this rank.
fn per_channel(tape: &mut Tape, vector: Var, rank: usize) -> Var {
    let axes: Vec<i64> = (1..rank as i64 - 1).collect();
    if axes.is_empty() { vector } else { tape.unsqueeze(vector, &axes) }
}

fn is_training(attribute: Option<i64>, mode: BatchNorm) -> bool {
    attribute.unwrap_or(0) != 0 || mode == BatchNorm::Training
}

/// The initializer behind a value that may be a copy of it.
fn stored(graph: &Graph, mut id: ValueId) -> Option<ValueId> {
    for _ in 0..graph.n_nodes() + 1 {
        match graph.producer(id) {
            None => return Some(id),
            Some((_, node)) if node.is("Identity") => id = node.input(0)?,
            Some(_) => return None,
        }
    }
    None
}

/// Writes the training form on the way forward.
pub(crate) fn forward(f: &mut Forward<'_>) -> Result<bool, Unsupported> {
    if !is_training(f.node.int("training_mode"), f.options.batch_norm) {
        return Ok(false);
    }
    let Some(rank) = f.fact(0).and_then(|fact| fact.rank()) else { return unsupported("has an input of unknown rank") };
    let (x, scale, bias) = (f.x(0)?, f.x(1)?, f.x(2)?);
    let element_type = f.element_type();
    let epsilon = f.node.float("epsilon").unwrap_or(1e-5).into();
    let parts = normalize(f.tape, x, rank, element_type, epsilon);
    let hat = f.tape.mul(parts.centered, parts.inverse);
    let (scale, bias) = (per_channel(f.tape, scale, rank), per_channel(f.tape, bias, rank));
    let scaled = f.tape.mul(hat, scale);
    let y = f.tape.add(scaled, bias);
    f.set_output(0, y)?;
    let momentum: f64 = f.node.float("momentum").unwrap_or(0.9).into();
    for (input, slot, batch) in [(3, 1, parts.mean), (4, 2, parts.variance)] {
        let old = f.x(input)?;
        let batch = f.tape.squeeze(batch, &axes_of(rank));
        let kept = f.tape.scale(old, element_type, momentum);
        let new = f.tape.scale(batch, element_type, 1.0 - momentum);
        let next = f.tape.add(kept, new);
        if f.node.output(slot).is_some() {
            f.set_output(slot, next)?;
            continue;
        }
        let root = f.node.input(input).and_then(|id| stored(f.graph, id));
        let Some(root) = root.filter(|id| f.graph.value(*id).constant.is_some()) else { continue };
        let parameter = f.graph.value(root).name.clone();
        if f.statistics.iter().any(|one| one.parameter == parameter) {
            return unsupported("shares its stored statistics with another");
        }
        let output = f.tape.name(next).to_owned();
        f.statistics.push(Gradient { parameter, output });
    }
    Ok(true)
}

fn backward(c: &mut Reverse<'_>) -> RuleResult {
    let (x, scale, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let rank = c.rank(0)?;
    let axes = axes_of(rank);
    let element_type = c.element_type();
    let epsilon = c.float_or("epsilon", 1e-5);
    let training = is_training(c.node.int("training_mode"), c.options.batch_norm);
    if c.wants(2) {
        let gradient = c.reduce_sum(dy, &axes, false);
        c.give(2, gradient);
    }
    if training {
        // The answers are those of the batch's own statistics, whatever is stored.
        for index in (3..5).filter(|index| c.wants(*index)).collect::<Vec<_>>() {
            let zeros = c.zeros_like(index)?;
            c.give(index, zeros);
        }
        let parts = normalize(c.tape, x, rank, element_type, epsilon);
        let hat = c.mul(parts.centered, parts.inverse);
        let weighted = c.mul(dy, hat);
        if c.wants(1) {
            let gradient = c.reduce_sum(weighted, &axes, false);
            c.give(1, gradient);
        }
        if c.wants(0) {
            let scale = per_channel(c.tape, scale, rank);
            let factor = c.mul(parts.inverse, scale);
            let mean_dy = c.reduce_mean(dy, &axes, true);
            let mean_weighted = c.reduce_mean(weighted, &axes, true);
            let along = c.mul(hat, mean_weighted);
            let rest = c.sub(dy, mean_dy);
            let rest = c.sub(rest, along);
            let gradient = c.mul(rest, factor);
            c.give(0, gradient);
        }
        return Ok(());
    }
    frozen(c, dy, rank, epsilon)
}

/// With stored statistics the operator is linear in everything but the variance.
fn frozen(c: &mut Reverse<'_>, dy: Var, rank: usize, epsilon: f64) -> RuleResult {
    let (x, scale, mean, variance) = (c.x(0)?, c.x(1)?, c.x(3)?, c.x(4)?);
    let axes = axes_of(rank);
    let element_type = c.element_type();
    let inverse = inverse_deviation(c.tape, variance, element_type, epsilon);
    let factor = c.mul(scale, inverse);
    if c.wants(0) {
        let factor = per_channel(c.tape, factor, rank);
        let gradient = c.mul(dy, factor);
        c.give(0, gradient);
    }
    if c.wants(1) || c.wants(4) {
        // Σ dy (x - mean) / deviation, with the division on the short vector.
        let mean = per_channel(c.tape, mean, rank);
        let centered = c.sub(x, mean);
        let weighted = c.mul(dy, centered);
        let sum = c.reduce_sum(weighted, &axes, false);
        let gradient = c.mul(sum, inverse);
        c.give(1, gradient);
        if c.wants(4) {
            let square = c.mul(inverse, factor);
            let slope = c.mul(gradient, square);
            let gradient = c.times(slope, -0.5);
            c.give(4, gradient);
        }
    }
    if c.wants(3) {
        let sum = c.reduce_sum(dy, &axes, false);
        let gradient = c.mul(sum, factor);
        let gradient = c.neg(gradient);
        c.give(3, gradient);
    }
    Ok(())
}
