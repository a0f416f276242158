//! `GRU`. Gates are in ONNX's order: update, reset, hidden.

use crate::emit::int;
use crate::reverse::{Reverse, RuleResult, Unsupported};
use crate::rules::recurrent::{Direction, DirectionGradients, Recurrent, check, sigmoid_slope, tanh_slope};
use crate::rules::scan_body::scan;
use crate::tape::Var;

pub(super) fn gru(c: &mut Reverse<'_>) -> RuleResult {
    check(c, &["Sigmoid", "Tanh"])?;
    let shared = Recurrent::of(c)?;
    let is_linear_first = c.int_or("linear_before_reset", 0) != 0;
    let mut found = Vec::new();
    for direction in shared.directions(c)? {
        found.push(one_direction(c, &shared, &direction, is_linear_first)?);
    }
    shared.give(c, found)
}

fn one_direction(
    c: &mut Reverse<'_>,
    shared: &Recurrent,
    d: &Direction,
    is_linear_first: bool,
) -> Result<DirectionGradients, Unsupported> {
    let hidden = shared.hidden;
    let before_rows = shared.flat(c, d.before, 1);
    let from_input = shared.project(c, shared.rows, d.weight, d.bias.map(|(bias, _)| bias));
    let from_input = shared.by_step(c, from_input, 3)?;
    let inputs = shared.split(c, from_input, 3);
    let (both, last) = (c.slice(d.recurrence, 0, 0, 2 * hidden), c.slice(d.recurrence, 0, 2 * hidden, 3 * hidden));
    let part = |c: &mut Reverse<'_>, start: i64, end: i64| {
        d.bias.map(|(_, bias)| c.slice(bias, 0, start * hidden, end * hidden))
    };
    let (bias_both, bias_last) = (part(c, 0, 2), part(c, 2, 3));
    let gates = shared.project(c, before_rows, both, bias_both);
    let gates = shared.by_step(c, gates, 2)?;
    let gates = shared.split(c, gates, 2);
    let (update, reset) = (c.add(inputs[0], gates[0]), c.add(inputs[1], gates[1]));
    let (update, reset) = (c.sigmoid(update), c.sigmoid(reset));
    let weighted = c.mul(reset, d.before);
    // What the reset gate multiplies: the projected state, or the state before it is projected.
    let (projected, candidate) = if is_linear_first {
        let projected = shared.project(c, before_rows, last, bias_last);
        let projected = shared.by_step(c, projected, 1)?;
        let through = c.mul(reset, projected);
        (projected, c.add(inputs[2], through))
    } else {
        let rows = shared.flat(c, weighted, 1);
        let projected = shared.project(c, rows, last, bias_last);
        let projected = shared.by_step(c, projected, 1)?;
        (projected, c.add(inputs[2], projected))
    };
    let candidate = c.tanh(candidate);
    let one = c.value(1.0);
    let rest = c.sub(one, update);
    let slope = tanh_slope(c, candidate);
    let to_candidate = c.mul(rest, slope);
    let difference = c.sub(d.before, candidate);
    let slope = sigmoid_slope(c, update);
    let to_update = c.mul(difference, slope);
    let slope = sigmoid_slope(c, reset);
    let to_reset = c.mul(slope, if is_linear_first { projected } else { d.before });
    let (recurrence, both, last) = (c.name(d.recurrence).to_owned(), c.name(both).to_owned(), c.name(last).to_owned());
    let scope = format!("{}/back{}", c.name(d.given), d.index);
    let sequences = [d.given, to_candidate, to_update, to_reset, update, reset];
    let join = |step: &mut crate::tape::Tape, parts: &[Var]| step.op_with("Concat", parts, vec![int("axis", -1)]);
    let (firsts, sums) =
        scan(c.tape, &scope, shared.element_type, &[d.last], &sequences, !d.is_reversed, |step, states, parts| {
            let dh = step.add(states[0], parts[0]);
            let (to_candidate, to_update) = (step.mul(dh, parts[1]), step.mul(dh, parts[2]));
            let kept = step.mul(dh, parts[4]);
            if is_linear_first {
                let to_reset = step.mul(to_candidate, parts[3]);
                let to_projected = step.mul(to_candidate, parts[5]);
                let state_side = join(step, &[to_update, to_reset, to_projected]);
                let recurrence = step.named(&recurrence);
                let back = step.matmul(state_side, recurrence);
                let before = step.add(kept, back);
                let input_side = join(step, &[to_update, to_reset, to_candidate]);
                return (vec![before], vec![input_side, state_side]);
            }
            let last = step.named(&last);
            let to_weighted = step.matmul(to_candidate, last);
            let to_reset = step.mul(to_weighted, parts[3]);
            let gates = join(step, &[to_update, to_reset]);
            let both = step.named(&both);
            let back = step.matmul(gates, both);
            let direct = step.mul(to_weighted, parts[5]);
            let before = step.add(kept, back);
            let before = step.add(before, direct);
            (vec![before], vec![join(step, &[gates, to_candidate])])
        });
    let input_side = shared.flat(c, sums[0], 3);
    let input = if c.wants(0) { Some(c.gemm(input_side, d.weight, false, false)) } else { None };
    let weight = c.gemm(input_side, shared.rows, true, false);
    let bias = c.reduce_sum(input_side, &[0], false);
    let (recurrence, state_bias) = if is_linear_first {
        let state_side = shared.flat(c, sums[1], 3);
        (c.gemm(state_side, before_rows, true, false), c.reduce_sum(state_side, &[0], false))
    } else {
        let (gates, last) = (c.slice(input_side, 1, 0, 2 * hidden), c.slice(input_side, 1, 2 * hidden, 3 * hidden));
        let weighted = shared.flat(c, weighted, 1);
        let parts = [c.gemm(gates, before_rows, true, false), c.gemm(last, weighted, true, false)];
        (c.concat(&parts, 0), bias)
    };
    Ok(DirectionGradients {
        input,
        weight,
        recurrence,
        bias: (bias, state_bias),
        initial_hidden: firsts[0],
        initial_cell: None,
    })
}
