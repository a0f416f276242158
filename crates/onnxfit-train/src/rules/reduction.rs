//! Reductions: the gradient spreads over what was reduced.

use crate::emit::int;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "CumSum", cumulative_sum),
    ("", "ReduceL1", |c| {
        let (x, _, dy) = spread(c)?;
        let sign = c.sign(x);
        let gradient = c.mul(dy, sign);
        c.give(0, gradient);
        Ok(())
    }),
    ("", "ReduceL2", |c| {
        let (x, y, dy) = spread(c)?;
        let share = c.div(dy, y);
        let gradient = c.mul(share, x);
        c.give(0, gradient);
        Ok(())
    }),
    ("", "ReduceLogSum", |c| {
        let (_, y, dy) = spread(c)?;
        let sum = c.exp(y);
        let share = c.div(dy, sum);
        fill(c, share)
    }),
    ("", "ReduceLogSumExp", |c| {
        let (x, y, dy) = spread(c)?;
        let difference = c.sub(x, y);
        let share = c.exp(difference);
        let gradient = c.mul(dy, share);
        c.give(0, gradient);
        Ok(())
    }),
    ("", "ReduceMax", extreme),
    ("", "ReduceMean", |c| {
        let (_, _, dy) = spread(c)?;
        let n_each = c.ratio_to_output(0)?;
        let share = c.div(dy, n_each);
        fill(c, share)
    }),
    ("", "ReduceMin", extreme),
    ("", "ReduceProd", |c| {
        // The product without one factor is the product divided by it; a factor of zero would need
        // the others' product, which this does not form.
        let (x, y, dy) = spread(c)?;
        let all = c.mul(dy, y);
        let gradient = c.div(all, x);
        c.give(0, gradient);
        Ok(())
    }),
    ("", "ReduceSum", |c| {
        let (_, _, dy) = spread(c)?;
        fill(c, dy)
    }),
    ("", "ReduceSumSquare", |c| {
        let (x, _, dy) = spread(c)?;
        let double = c.add(x, x);
        let gradient = c.mul(dy, double);
        c.give(0, gradient);
        Ok(())
    }),
];

/// The input, and the output and its gradient in a shape that is broadcast to the input's.
fn spread(c: &mut Reverse<'_>) -> Result<(Var, Var, Var), Unsupported> {
    let (x, y, dy) = (c.x(0)?, c.y()?, c.dy()?);
    if c.int_or("keepdims", 1) != 0 {
        return Ok((x, y, dy));
    }
    if !c.has(1) || c.known_ints(1).is_some_and(|axes| axes.is_empty()) {
        if c.int_or("noop_with_empty_axes", 0) != 0 {
            return unsupported("may reduce nothing");
        }
        // Everything was reduced: a scalar is broadcast as it is.
        return Ok((x, y, dy));
    }
    let axes = c.x(1)?;
    let (y, dy) = (c.op("Unsqueeze", &[y, axes]), c.op("Unsqueeze", &[dy, axes]));
    Ok((x, y, dy))
}

/// Repeats a value to the input's shape.
fn fill(c: &mut Reverse<'_>, value: Var) -> RuleResult {
    let shape = c.shape_vector(0)?;
    let gradient = c.expand(value, shape);
    c.give(0, gradient);
    Ok(())
}

/// The largest or smallest elements share the gradient.
fn extreme(c: &mut Reverse<'_>) -> RuleResult {
    let (x, y, dy) = spread(c)?;
    let element_type = c.element_type();
    let is_chosen = c.equal(x, y);
    let mask = c.cast(is_chosen, element_type);
    let mut inputs = vec![Some(mask)];
    if c.has(1) {
        inputs.push(Some(c.x(1)?));
    }
    let n_chosen = c.emit("ReduceSum", &inputs, vec![int("keepdims", 1)], 1)[0];
    let share = c.div(dy, n_chosen);
    let gradient = c.mul(share, mask);
    c.give(0, gradient);
    Ok(())
}

fn cumulative_sum(c: &mut Reverse<'_>) -> RuleResult {
    let (axis, dy) = (c.x(1)?, c.dy()?);
    let attributes = vec![int("reverse", 1 - c.int_or("reverse", 0)), int("exclusive", c.int_or("exclusive", 0))];
    let gradient = c.op_with("CumSum", &[dy, axis], attributes);
    c.give(0, gradient);
    Ok(())
}
