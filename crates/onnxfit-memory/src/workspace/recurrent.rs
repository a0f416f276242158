//! LSTM, GRU and RNN on the CPU: the state of each direction.
//!
//! `rnn/lstm_base.cc`, `rnn/uni_directional_lstm.cc`, `rnn/deep_cpu_gru.cc` (ORT 1.31). The buffers
//! of both directions live to the end of the kernel.

use onnxfit_base::Bytes;

use super::{Call, Step, outputs_in_order};

/// What both kinds read from their node.
struct Shape {
    steps: u64,
    batch: u64,
    inputs: u64,
    hidden: u64,
    /// Forward, reverse or both, in the order in which they are set up.
    reversed: Vec<bool>,
    has_bias: bool,
    has_lengths: bool,
}

impl Shape {
    fn of(call: &Call<'_>) -> Option<Self> {
        let node = call.node;
        let &[steps, batch, inputs] = call.input(0)?.dims.as_slice() else { return None };
        let reversed = match node.text("direction", "forward") {
            "bidirectional" => vec![false, true],
            direction => vec![direction == "reverse"],
        };
        Some(Self {
            steps,
            batch,
            inputs,
            hidden: u64::try_from(node.int("hidden_size", 0)).ok()?,
            reversed,
            has_bias: node.input(3).is_some(),
            has_lengths: node.input(4).is_some(),
        })
    }
}

/// Collects scratch of four-byte elements.
struct Scratch(Vec<Step>);

impl Scratch {
    fn take(&mut self, what: &'static str, n_elements: u64) -> Option<()> {
        let bytes = Bytes(n_elements.checked_mul(4)?);
        self.0.push(Step::Scratch { what, bytes });
        Some(())
    }
}

pub(super) fn lstm(call: &Call<'_>) -> Option<Vec<Step>> {
    let shape = Shape::of(call)?;
    let mut scratch = lstm_states(call, &shape)?;
    lengths(&shape, &mut scratch)?;
    Some(scratch.0)
}

/// `DynamicQuantizeLSTM`: each direction also quantizes what it multiplies
/// (`uni_directional_lstm.cc:AllocateQuantizeBuffers`).
pub(super) fn quantized_lstm(call: &Call<'_>) -> Option<Vec<Step>> {
    let shape = Shape::of(call)?;
    let per_step = shape.batch.checked_mul(shape.hidden)?;
    let inputs = shape.steps.checked_mul(shape.batch)?.checked_mul(shape.inputs)?;
    let mut scratch = lstm_states(call, &shape)?;
    for _ in &shape.reversed {
        if !shape.has_lengths {
            scratch.take("sequence lengths", shape.batch)?;
        }
        scratch.0.push(Step::Scratch { what: "quantized input", bytes: Bytes(inputs.max(per_step)) });
        scratch.take("products", per_step.checked_mul(4)?)?;
    }
    Some(scratch.0)
}

/// Everything that both kinds of LSTM take before they compute.
fn lstm_states(call: &Call<'_>, shape: &Shape) -> Option<Scratch> {
    let per_step = shape.batch.checked_mul(shape.hidden)?;
    let mut scratch = Scratch(outputs_in_order(call.node).collect());
    let n_directions = shape.reversed.len() as u64;
    for (position, what) in [(1, "last hidden state"), (2, "last cell state")] {
        if call.node.output(position).is_none() {
            scratch.take(what, per_step.checked_mul(n_directions)?)?;
        }
    }
    for &reversed in &shape.reversed {
        scratch.take("hidden state", shape.hidden)?;
        scratch.take("cell state", shape.hidden)?;
        scratch.take("batched hidden state", per_step)?;
        scratch.take("batched cell state", per_step)?;
        scratch.take("clipped cell state", per_step)?;
        scratch.take("gates", per_step.checked_mul(4)?.checked_mul(shape.steps)?)?;
        if shape.has_bias {
            for _ in 0..4 {
                scratch.take("gate bias", shape.hidden)?;
            }
        }
        if reversed {
            scratch.take("reversed input", shape.steps.checked_mul(shape.batch)?.checked_mul(shape.inputs)?)?;
            scratch.take("reversed output", shape.steps.checked_mul(per_step)?)?;
        }
        if call.node.input(7).is_some() {
            for _ in 0..3 {
                scratch.take("peephole", shape.hidden)?;
            }
        }
    }
    Some(scratch)
}

/// `RNN`: the products of the inputs, and the outputs when nobody asked for them (`rnn/rnn.cc`).
pub(super) fn plain(call: &Call<'_>) -> Option<Vec<Step>> {
    let shape = Shape::of(call)?;
    let outputs = shape.steps.checked_mul(shape.batch)?.checked_mul(shape.hidden)?;
    let mut scratch = Scratch(outputs_in_order(call.node).collect());
    scratch.take("products of inputs", outputs)?;
    if call.node.output(0).is_none() {
        scratch.take("outputs", outputs.checked_mul(shape.reversed.len() as u64)?)?;
    }
    Some(scratch.0)
}

pub(super) fn gru(call: &Call<'_>) -> Option<Vec<Step>> {
    let shape = Shape::of(call)?;
    let per_step = shape.batch.checked_mul(shape.hidden)?;
    let resets_after = call.node.int("linear_before_reset", 0) != 0;
    let mut scratch = Scratch(outputs_in_order(call.node).collect());
    if call.node.output(1).is_none() {
        scratch.take("last hidden state", per_step.checked_mul(shape.reversed.len() as u64)?)?;
    }
    for &reversed in &shape.reversed {
        scratch.take("hidden state", per_step)?;
        scratch.take("batched hidden state", per_step)?;
        if shape.has_bias {
            for _ in 0..if resets_after { 4 } else { 3 } {
                scratch.take("gate bias", per_step)?;
            }
        }
        if resets_after {
            scratch.take("linear output", per_step)?;
        }
        scratch.take("gates", per_step.checked_mul(3)?.checked_mul(shape.steps)?)?;
        if reversed {
            scratch.take("reversed input", shape.steps.checked_mul(shape.batch)?.checked_mul(shape.inputs)?)?;
            scratch.take("reversed output", shape.steps.checked_mul(per_step)?)?;
        }
    }
    lengths(&shape, &mut scratch)?;
    Some(scratch.0)
}

/// Without sequence lengths each direction makes its own.
fn lengths(shape: &Shape, scratch: &mut Scratch) -> Option<()> {
    if !shape.has_lengths {
        for _ in &shape.reversed {
            scratch.take("sequence lengths", shape.batch)?;
        }
    }
    Some(())
}
