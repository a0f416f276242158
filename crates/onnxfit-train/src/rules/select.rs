//! Choosing between values: conditions, bounds, triangles, the largest few.

use crate::emit::int;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, unsupported};

pub(crate) const TABLE: &[Entry] =
    &[("", "Clip", clip), ("", "TopK", top_k), ("", "Trilu", trilu), ("", "Where", where_)];

/// The bounds themselves count as inside.
fn clip(c: &mut Reverse<'_>) -> RuleResult {
    let (x, dy) = (c.x(0)?, c.dy()?);
    let mut inside = Vec::new();
    if c.has(1) {
        let low = c.x(1)?;
        inside.push(c.greater_or_equal(x, low));
    }
    if c.has(2) {
        let high = c.x(2)?;
        inside.push(c.less_or_equal(x, high));
    }
    let zero = c.value(0.0);
    let gradient = match inside.as_slice() {
        [] => dy,
        [one] => c.select(*one, dy, zero),
        [low, high, ..] => {
            let both = c.and(*low, *high);
            c.select(both, dy, zero)
        }
    };
    c.give(0, gradient);
    Ok(())
}

fn where_(c: &mut Reverse<'_>) -> RuleResult {
    let (condition, dy) = (c.x(0)?, c.dy()?);
    let zero = c.value(0.0);
    if c.wants(1) {
        let gradient = c.select(condition, dy, zero);
        c.give_reduced(1, gradient)?;
    }
    if c.wants(2) {
        let gradient = c.select(condition, zero, dy);
        c.give_reduced(2, gradient)?;
    }
    Ok(())
}

fn trilu(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let mut inputs = vec![Some(dy)];
    if c.has(1) {
        inputs.push(Some(c.x(1)?));
    }
    let upper = c.int_or("upper", 1);
    let gradient = c.emit("Trilu", &inputs, vec![int("upper", upper)], 1)[0];
    c.give(0, gradient);
    Ok(())
}

fn top_k(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let axis = c.int_or("axis", -1);
    let y = c.y()?;
    let Some(indices) = c.extra_output(y, 1) else { return unsupported("has no indices") };
    let zeros = c.zeros_like(0)?;
    let gradient = c.op_with("ScatterElements", &[zeros, indices, dy], vec![int("axis", axis)]);
    c.give(0, gradient);
    Ok(())
}
