//! Softmax and its logarithm.

use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult};

pub(crate) const TABLE: &[Entry] = &[("", "LogSoftmax", log_softmax), ("", "Softmax", softmax)];

fn softmax(c: &mut Reverse<'_>) -> RuleResult {
    let (y, dy) = (c.y()?, c.dy()?);
    let axis = c.int_or("axis", -1);
    let weighted = c.mul(dy, y);
    let sum = c.reduce_sum(weighted, &[axis], true);
    let share = c.mul(y, sum);
    let gradient = c.sub(weighted, share);
    c.give(0, gradient);
    Ok(())
}

fn log_softmax(c: &mut Reverse<'_>) -> RuleResult {
    let (y, dy) = (c.y()?, c.dy()?);
    let axis = c.int_or("axis", -1);
    let sum = c.reduce_sum(dy, &[axis], true);
    let probability = c.exp(y);
    let share = c.mul(probability, sum);
    let gradient = c.sub(dy, share);
    c.give(0, gradient);
    Ok(())
}
