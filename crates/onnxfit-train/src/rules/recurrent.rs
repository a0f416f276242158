//! Recurrent networks.
//!
//! Their outputs are the hidden states, so all gates of all steps are found again at once, by two
//! products over the whole sequence; only what truly runs from step to step is a `Scan`.

mod gru;
mod lstm;
mod rnn;

use onnxfit_onnx::DataType;

use crate::registry::Entry;
use crate::reverse::{Reverse, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[("", "GRU", gru::gru), ("", "LSTM", lstm::lstm), ("", "RNN", rnn::rnn)];

/// One direction of a recurrent node, with the direction's axis taken off.
struct Direction {
    index: i64,
    is_reversed: bool,
    /// `[gates*hidden, input]`.
    weight: Var,
    /// `[gates*hidden, hidden]`.
    recurrence: Var,
    /// The input's and the recurrence's bias, `[gates*hidden]` each.
    bias: Option<(Var, Var)>,
    /// The hidden state before each step, `[steps, batch, hidden]`.
    before: Var,
    /// The hidden state after each step.
    after: Var,
    /// The output's gradient at each step.
    given: Var,
    /// The gradient of the last hidden state.
    last: Var,
}

/// What the gradients of one direction are.
struct DirectionGradients {
    input: Option<Var>,
    weight: Var,
    recurrence: Var,
    bias: (Var, Var),
    initial_hidden: Var,
    initial_cell: Option<Var>,
}

/// What all directions share.
struct Recurrent {
    hidden: i64,
    element_type: DataType,
    /// `[steps*batch, input]`.
    rows: Var,
}

fn check(c: &Reverse<'_>, activations: &[&str]) -> Result<(), Unsupported> {
    if c.int_or("layout", 0) != 0 {
        return unsupported("has the batch first");
    }
    if c.node.attribute("clip").is_some() {
        return unsupported("clips");
    }
    if c.has(4) {
        return unsupported("has sequences of several lengths");
    }
    if let Some(onnxfit_graph::AttributeValue::Strings(names)) = c.node.attribute("activations") {
        let is_usual = names.iter().enumerate().all(|(at, name)| {
            let usual = activations[at % activations.len()];
            name.as_ref().eq_ignore_ascii_case(usual.as_bytes())
        });
        if !is_usual {
            return unsupported("has activations of its own");
        }
    }
    Ok(())
}

impl Recurrent {
    fn of(c: &mut Reverse<'_>) -> Result<Self, Unsupported> {
        let Some(hidden) = c.node.int("hidden_size").or_else(|| c.known_dim(2, 2)) else {
            return unsupported("has a hidden size that is not known");
        };
        let x = c.x(0)?;
        let rows = match c.known_dim(0, 2) {
            Some(width) => c.reshape_to(x, &[-1, width]),
            None => {
                let (open, width) = (c.ints(&[-1]), c.dim(x, 2));
                let target = c.concat(&[open, width], 0);
                c.reshape(x, target)
            }
        };
        Ok(Self { hidden, element_type: c.element_type(), rows })
    }

    fn directions(&self, c: &mut Reverse<'_>) -> Result<Vec<Direction>, Unsupported> {
        let kinds: &[bool] = match c.node.string("direction").unwrap_or("forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            _ => return unsupported("has an unknown direction"),
        };
        let mut directions = Vec::new();
        for (index, is_reversed) in kinds.iter().enumerate() {
            directions.push(self.direction(c, index as i64, *is_reversed)?);
        }
        Ok(directions)
    }

    fn direction(&self, c: &mut Reverse<'_>, index: i64, is_reversed: bool) -> Result<Direction, Unsupported> {
        let x = c.x(0)?;
        let (weight, recurrence) = (c.x(1)?, c.x(2)?);
        let (weight, recurrence) = (take(c, weight, 0, index), take(c, recurrence, 0, index));
        let bias = if c.has(3) {
            let both = c.x(3)?;
            let both = take(c, both, 0, index);
            let half = c.known_dim(3, 1).map(|width| width / 2);
            let Some(half) = half else { return unsupported("has a bias of unknown size") };
            Some((c.slice(both, 0, 0, half), c.slice(both, 0, half, 2 * half)))
        } else {
            None
        };
        // `[batch, hidden]`, as zeros for what is not there.
        let batch = c.dim(x, 1);
        let hidden = c.ints(&[self.hidden]);
        let state = c.concat(&[batch, hidden], 0);
        let initial = match c.inputs.get(5).copied().flatten() {
            Some(initial) => take(c, initial, 0, index),
            None => c.zeros(state, self.element_type),
        };
        let y = match c.outputs.first().copied().flatten() {
            Some(y) => y,
            None => match c.outputs.iter().flatten().next().copied().and_then(|other| c.extra_output(other, 0)) {
                Some(y) => y,
                None => return unsupported("gives no output"),
            },
        };
        let after = take(c, y, 1, index);
        let before = shifted(c, after, initial, is_reversed);
        let given = match c.output_gradients.first().copied().flatten() {
            Some(dy) => take(c, dy, 1, index),
            None => {
                let shape = c.shape(after);
                c.zeros(shape, self.element_type)
            }
        };
        let last = match c.output_gradients.get(1).copied().flatten() {
            Some(gradient) => take(c, gradient, 0, index),
            None => c.zeros(state, self.element_type),
        };
        Ok(Direction { index, is_reversed, weight, recurrence, bias, before, after, given, last })
    }

    /// `[steps, batch, width]` as `[steps*batch, width]`.
    fn flat(&self, c: &mut Reverse<'_>, value: Var, n_gates: i64) -> Var {
        c.reshape_to(value, &[-1, n_gates * self.hidden])
    }

    /// `[steps*batch, width]` as `[steps, batch, width]`.
    fn by_step(&self, c: &mut Reverse<'_>, rows: Var, n_gates: i64) -> Result<Var, Unsupported> {
        let x = c.x(0)?;
        let (front, width) = (c.dims(x, 0, Some(2)), c.ints(&[n_gates * self.hidden]));
        let target = c.concat(&[front, width], 0);
        Ok(c.reshape(rows, target))
    }

    /// A product with a weight matrix, plus a bias.
    fn project(&self, c: &mut Reverse<'_>, rows: Var, matrix: Var, bias: Option<Var>) -> Var {
        let inputs: Vec<Var> = [Some(rows), Some(matrix), bias].into_iter().flatten().collect();
        c.op_with("Gemm", &inputs, vec![crate::emit::int("transB", 1)])
    }

    /// Splits `[.., n*hidden]` into `n` parts.
    fn split(&self, c: &mut Reverse<'_>, value: Var, n: i64) -> Vec<Var> {
        let sizes = c.ints(&vec![self.hidden; n as usize]);
        c.emit("Split", &[Some(value), Some(sizes)], vec![crate::emit::int("axis", -1)], n as usize)
    }

    /// Gives the node's inputs what the directions found.
    fn give(&self, c: &mut Reverse<'_>, found: Vec<DirectionGradients>) -> Result<(), Unsupported> {
        let join = |c: &mut Reverse<'_>, parts: Vec<Var>| {
            let parts: Vec<Var> = parts.into_iter().map(|part| c.unsqueeze(part, &[0])).collect();
            c.concat(&parts, 0)
        };
        if c.wants(0) {
            let parts: Vec<Var> = found.iter().filter_map(|one| one.input).collect();
            let sum = c.sum(&parts);
            let gradient = c.reshape_like(sum, 0)?;
            c.give(0, gradient);
        }
        if c.wants(1) {
            let gradient = join(c, found.iter().map(|one| one.weight).collect());
            c.give(1, gradient);
        }
        if c.wants(2) {
            let gradient = join(c, found.iter().map(|one| one.recurrence).collect());
            c.give(2, gradient);
        }
        if c.wants(3) {
            let mut halves = Vec::new();
            for one in &found {
                halves.push(c.concat(&[one.bias.0, one.bias.1], 0));
            }
            let gradient = join(c, halves);
            c.give(3, gradient);
        }
        if c.wants(5) {
            let gradient = join(c, found.iter().map(|one| one.initial_hidden).collect());
            c.give(5, gradient);
        }
        if c.wants(6) {
            let gradient = join(c, found.iter().filter_map(|one| one.initial_cell).collect());
            c.give(6, gradient);
        }
        Ok(())
    }
}

/// One place of an axis, without the axis.
fn take(c: &mut Reverse<'_>, value: Var, axis: i64, index: i64) -> Var {
    let part = c.slice(value, axis, index, index + 1);
    c.squeeze(part, &[axis])
}

/// The state before each step: the first comes from outside, the others from the step before.
fn shifted(c: &mut Reverse<'_>, after: Var, initial: Var, is_reversed: bool) -> Var {
    let first = c.unsqueeze(initial, &[0]);
    if is_reversed {
        let rest = c.slice(after, 0, 1, i64::MAX);
        c.concat(&[rest, first], 0)
    } else {
        let rest = c.slice(after, 0, 0, -1);
        c.concat(&[first, rest], 0)
    }
}

/// `s (1 - s)`, the slope of a sigmoid with this output.
fn sigmoid_slope(c: &mut Reverse<'_>, s: Var) -> Var {
    let one = c.value(1.0);
    let rest = c.sub(one, s);
    c.mul(s, rest)
}

/// `1 - t^2`, the slope of a hyperbolic tangent with this output.
fn tanh_slope(c: &mut Reverse<'_>, t: Var) -> Var {
    let square = c.mul(t, t);
    let one = c.value(1.0);
    c.sub(one, square)
}
