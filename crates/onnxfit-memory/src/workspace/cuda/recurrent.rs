//! LSTM, GRU and RNN through cuDNN.
//!
//! `rnn/cudnn_rnn_base.cc` (ORT 1.30-dev). cuDNN's workspace is a band: the gates of every step, which
//! it multiplies out at once, are expected; low is 0; high is three times that and the input.

use super::persistent::{is_constant, reorganized_bytes};
use super::{Call, Piece, product};

pub(super) fn lstm(call: &Call<'_>) -> Option<Vec<Piece>> {
    recurrent(call, 4)
}

pub(super) fn gru(call: &Call<'_>) -> Option<Vec<Piece>> {
    recurrent(call, 3)
}

pub(super) fn rnn(call: &Call<'_>) -> Option<Vec<Piece>> {
    recurrent(call, 1)
}

fn recurrent(call: &Call<'_>, n_gates: u64) -> Option<Vec<Piece>> {
    let node = call.node;
    let input = call.input(0)?;
    let &[steps, batch, _] = input.dims.as_slice() else { return None };
    let element_bytes = input.element_bytes();
    let hidden = u64::try_from(node.int("hidden_size", 0)).ok()?;
    let direction = node.text("direction", "forward");
    let n_directions = if direction == "bidirectional" { 2 } else { 1 };
    let output_bytes = product(&[steps, n_directions, batch, hidden, element_bytes])?;
    let mut pieces = vec![Piece::exact("sequence lengths", batch.checked_mul(4)?)];
    pieces.extend((0..node.outputs.len()).filter(|&position| node.output(position).is_some()).map(Piece::Output));
    if direction == "reverse" {
        pieces.push(Piece::exact("reversed input", input.bytes()?.0));
    }
    if node.output(0).is_none() {
        pieces.push(Piece::exact("output of every step", output_bytes));
    }
    if !is_constant(call.program, node, &[1, 2, 3]) {
        pieces.push(Piece::exact("reorganized weights", reorganized_bytes(call.input(1)?, hidden, n_gates)?));
    }
    let gates = output_bytes.checked_mul(n_gates)?;
    let high = gates.checked_mul(3)?.checked_add(input.bytes()?.0)?;
    pieces.push(Piece::between("cuDNN workspace", 0, gates, high));
    pieces.push(Piece::between("cuDNN reserve space", 0, 0, gates));
    if node.output(0).is_some() && direction != "forward" {
        pieces.push(Piece::exact("reordered output", output_bytes));
    }
    Some(pieces)
}
