//! Recurrent operators.

use onnxfit_graph::Dim;

use super::{Context, Inferred, Rule};

pub(super) const RULES: &[(&str, Rule)] =
    &[("LSTM", recurrent), ("GRU", recurrent), ("RNN", recurrent), ("DynamicQuantizeLSTM", recurrent)];

fn recurrent(context: &Context<'_>) -> Vec<Inferred> {
    let directions = match context.op.string("direction") {
        Some("bidirectional") => 2,
        _ => 1,
    };
    let hidden = context.op.int("hidden_size").map_or(Dim::Unknown, Dim::Known);
    let by_batch = context.op.int("layout").unwrap_or(0) != 0;
    let Some([first, second, _]) = context.shape(0) else {
        return vec![Inferred { elem: context.elem(0), shape: None }; 3];
    };
    let (steps, batch) = if by_batch { (second, first) } else { (first, second) };
    let whole = if by_batch {
        vec![batch.clone(), steps.clone(), Dim::Known(directions), hidden.clone()]
    } else {
        vec![steps.clone(), Dim::Known(directions), batch.clone(), hidden.clone()]
    };
    let last = if by_batch {
        vec![batch.clone(), Dim::Known(directions), hidden]
    } else {
        vec![Dim::Known(directions), batch.clone(), hidden]
    };
    let output = |shape| Inferred { elem: context.elem(0), shape: Some(shape) };
    vec![output(whole), output(last.clone()), output(last)]
}
