//! `RNN`, with hyperbolic tangent or `Relu`.

use crate::reverse::{Reverse, RuleResult, Unsupported};
use crate::rules::recurrent::{Direction, DirectionGradients, Recurrent, check, tanh_slope};
use crate::rules::scan_body::scan;

pub(super) fn rnn(c: &mut Reverse<'_>) -> RuleResult {
    let is_relu = check(c, &["Relu"]).is_ok() && c.node.attribute("activations").is_some();
    if !is_relu {
        check(c, &["Tanh"])?;
    }
    let shared = Recurrent::of(c)?;
    let mut found = Vec::new();
    for direction in shared.directions(c)? {
        found.push(one_direction(c, &shared, &direction, is_relu)?);
    }
    shared.give(c, found)
}

fn one_direction(
    c: &mut Reverse<'_>,
    shared: &Recurrent,
    d: &Direction,
    is_relu: bool,
) -> Result<DirectionGradients, Unsupported> {
    let slope = if is_relu {
        let sign = c.sign(d.after);
        let zero = c.value(0.0);
        c.maximum(sign, zero)
    } else {
        tanh_slope(c, d.after)
    };
    let recurrence = c.name(d.recurrence).to_owned();
    let scope = format!("{}/back{}", c.name(d.given), d.index);
    let (firsts, sums) = scan(
        c.tape,
        &scope,
        shared.element_type,
        &[d.last],
        &[d.given, slope],
        !d.is_reversed,
        |step, states, parts| {
            let dh = step.add(states[0], parts[0]);
            let sum = step.mul(dh, parts[1]);
            let recurrence = step.named(&recurrence);
            (vec![step.matmul(sum, recurrence)], vec![sum])
        },
    );
    let rows = shared.flat(c, sums[0], 1);
    let before_rows = shared.flat(c, d.before, 1);
    let input = if c.wants(0) { Some(c.gemm(rows, d.weight, false, false)) } else { None };
    let bias = c.reduce_sum(rows, &[0], false);
    Ok(DirectionGradients {
        input,
        weight: c.gemm(rows, shared.rows, true, false),
        recurrence: c.gemm(rows, before_rows, true, false),
        bias: (bias, bias),
        initial_hidden: firsts[0],
        initial_cell: None,
    })
}
