//! `LSTM`. Gates are in ONNX's order: input, output, forget, cell.

use crate::emit::int;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::rules::recurrent::{
    Direction, DirectionGradients, Recurrent, check, shifted, sigmoid_slope, take, tanh_slope,
};
use crate::rules::scan_body::scan;

pub(super) fn lstm(c: &mut Reverse<'_>) -> RuleResult {
    check(c, &["Sigmoid", "Tanh", "Tanh"])?;
    if c.has(7) || c.int_or("input_forget", 0) != 0 {
        return unsupported("has peepholes or coupled gates");
    }
    let shared = Recurrent::of(c)?;
    let mut found = Vec::new();
    for direction in shared.directions(c)? {
        found.push(one_direction(c, &shared, &direction)?);
    }
    shared.give(c, found)
}

fn one_direction(c: &mut Reverse<'_>, shared: &Recurrent, d: &Direction) -> Result<DirectionGradients, Unsupported> {
    let element_type = shared.element_type;
    let before_rows = shared.flat(c, d.before, 1);
    let from_input = shared.project(c, shared.rows, d.weight, d.bias.map(|(bias, _)| bias));
    let from_state = shared.project(c, before_rows, d.recurrence, d.bias.map(|(_, bias)| bias));
    let sums = c.add(from_input, from_state);
    let sums = shared.by_step(c, sums, 4)?;
    let parts = shared.split(c, sums, 4);
    let (input, output, forget) = (c.sigmoid(parts[0]), c.sigmoid(parts[1]), c.sigmoid(parts[2]));
    let candidate = c.tanh(parts[3]);
    // The cell runs from step to step: kept what is not forgotten, plus what is let in.
    let let_in = c.mul(input, candidate);
    let x = c.x(0)?;
    let (batch, hidden) = (c.dim(x, 1), c.ints(&[shared.hidden]));
    let state = c.concat(&[batch, hidden], 0);
    let initial_cell = match c.inputs.get(6).copied().flatten() {
        Some(initial) => take(c, initial, 0, d.index),
        None => c.zeros(state, element_type),
    };
    let scope = c.name(d.given).to_owned();
    let (_, cells) = scan(
        c.tape,
        &format!("{scope}/cell{}", d.index),
        element_type,
        &[initial_cell],
        &[forget, let_in],
        d.is_reversed,
        |step, states, parts| {
            let kept = step.mul(parts[0], states[0]);
            let cell = step.add(kept, parts[1]);
            let given = step.op("Identity", &[cell]);
            (vec![cell], vec![given])
        },
    );
    let cell = cells[0];
    let cell_before = shifted(c, cell, initial_cell, d.is_reversed);
    let squashed = c.tanh(cell);
    let slope = tanh_slope(c, squashed);
    let to_cell = c.mul(output, slope);
    let factor = |c: &mut Reverse<'_>, gate, other| {
        let slope = sigmoid_slope(c, gate);
        c.mul(slope, other)
    };
    let (to_input, to_output) = (factor(c, input, candidate), factor(c, output, squashed));
    let to_forget = factor(c, forget, cell_before);
    let slope = tanh_slope(c, candidate);
    let to_candidate = c.mul(slope, input);
    let last_cell = match c.output_gradients.get(2).copied().flatten() {
        Some(gradient) => take(c, gradient, 0, d.index),
        None => c.zeros(state, element_type),
    };
    let recurrence = c.name(d.recurrence).to_owned();
    let (firsts, sums) = scan(
        c.tape,
        &format!("{scope}/back{}", d.index),
        element_type,
        &[d.last, last_cell],
        &[d.given, to_cell, to_input, to_output, to_forget, to_candidate, forget],
        !d.is_reversed,
        |step, states, parts| {
            let dh = step.add(states[0], parts[0]);
            let through = step.mul(dh, parts[1]);
            let dc = step.add(states[1], through);
            let gates =
                [step.mul(dc, parts[2]), step.mul(dh, parts[3]), step.mul(dc, parts[4]), step.mul(dc, parts[5])];
            let all = step.op_with("Concat", &gates, vec![int("axis", -1)]);
            let recurrence = step.named(&recurrence);
            let dh_before = step.matmul(all, recurrence);
            let dc_before = step.mul(dc, parts[6]);
            (vec![dh_before, dc_before], vec![all])
        },
    );
    let rows = shared.flat(c, sums[0], 4);
    let input = if c.wants(0) { Some(c.gemm(rows, d.weight, false, false)) } else { None };
    let bias = c.reduce_sum(rows, &[0], false);
    Ok(DirectionGradients {
        input,
        weight: c.gemm(rows, shared.rows, true, false),
        recurrence: c.gemm(rows, before_rows, true, false),
        bias: (bias, bias),
        initial_hidden: firsts[0],
        initial_cell: Some(firsts[1]),
    })
}
