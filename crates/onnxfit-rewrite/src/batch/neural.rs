//! Convolution, pooling, normalization, attention, recurrence.

use super::rules::{Table, position};
use super::{Rows, View, counts};

pub(super) const RULES: Table = &[
    (
        &[
            "AveragePool",
            "BatchNormalization",
            "Conv",
            "ConvInteger",
            "ConvTranspose",
            "FusedConv",
            "GlobalAveragePool",
            "GlobalLpPool",
            "GlobalMaxPool",
            "GridSample",
            "GroupNormalization",
            "InstanceNormalization",
            "LRN",
            "LpPool",
            "MaxPool",
            "NhwcFusedConv",
            "NhwcMaxPool",
            "QLinearAveragePool",
            "QLinearConv",
            "QLinearGlobalAveragePool",
        ],
        image,
    ),
    (&["Resize", "Upsample"], resize),
    (&["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"], layer_norm),
    (&["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], skip_layer_norm),
    (&["Attention", "MultiHeadAttention", "EmbedLayerNormalization"], attention),
    (&["LSTM", "GRU", "RNN"], recurrent),
];

/// Images lie along the first axis; weights have no rows.
fn image(view: &View<'_>) -> Result<Vec<Rows>, String> {
    if view.node.op_type == "BatchNormalization" && view.node.int("training_mode").unwrap_or(0) != 0 {
        return Err("takes mean and variance over the rows (training mode)".to_owned());
    }
    let second_has_rows = view.node.op_type == "GridSample" && view.rows(1) == Rows::Axis(0);
    let others =
        (1..view.node.inputs.len()).all(|input| view.rows(input) == Rows::None || (input == 1 && second_has_rows));
    if view.axis(0) != Some(0) || !others {
        return Err("expects rows along its first axis only".to_owned());
    }
    Ok(view.every_output(Rows::Axis(0)))
}

fn resize(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("resizes a counted value")?;
    let same_size = view.out_shape(0)?.get(axis) == view.shape(0)?.get(axis);
    let by_rows = (1..view.node.inputs.len()).any(|input| view.axis(input).is_some());
    if !same_size || by_rows {
        return Err("resizes along the rows".to_owned());
    }
    Ok(vec![Rows::Axis(axis)])
}

fn layer_norm(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("normalizes a counted value")?;
    let first = position(view.node.int("axis").unwrap_or(-1), view.shape(0)?.len()).ok_or("has no such axis")?;
    let weights = (1..view.node.inputs.len()).all(|input| view.rows(input) == Rows::None);
    if axis >= first || !weights {
        return Err("normalizes over the rows".to_owned());
    }
    Ok(view.every_output(Rows::Axis(axis)))
}

fn skip_layer_norm(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let last = view.shape(0)?.len().saturating_sub(1);
    let axis = view.axis(0).filter(|axis| *axis < last).ok_or("normalizes over the rows")?;
    if !matches!(view.rows(1), Rows::Axis(other) if other == axis) {
        return Err("adds the same to every row in a way that is not followed".to_owned());
    }
    Ok(view.every_output(Rows::Axis(axis)))
}

/// Fused attention keeps batches apart; where they lie in each output, its shape tells.
fn attention(view: &View<'_>) -> Result<Vec<Rows>, String> {
    for input in 0..view.node.inputs.len() {
        match view.rows(input) {
            Rows::None | Rows::Axis(0) => {}
            // Keys and values of the past: `[2, batch, heads, length, size]`.
            Rows::Axis(1) if view.shape(input)?.len() == 5 => {}
            _ => return Err("expects rows along its first axis".to_owned()),
        }
    }
    let mut made = Vec::with_capacity(view.node.outputs.len());
    for output in 0..view.node.outputs.len() {
        let axis = match view.node.output(output) {
            None => None,
            Some(_) => view.out_shape(output)?.iter().position(|dim| counts(view.walk.batch, dim)),
        };
        made.push(axis.map_or(Rows::None, Rows::Axis));
    }
    Ok(made)
}

/// `X` is `[sequence, batch, features]`, or batch first with `layout` 1.
fn recurrent(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let batch_first = view.node.int("layout").unwrap_or(0) == 1;
    let axis_of_x = usize::from(!batch_first);
    // W, R and B have no rows; sequence_lens is a list of rows; states have directions first.
    let expected = [Some(axis_of_x), None, None, None, Some(0), Some(axis_of_x), Some(axis_of_x)];
    for input in 0..view.node.inputs.len() {
        let wanted = expected.get(input).copied().flatten();
        let good = match view.rows(input) {
            Rows::None => true,
            Rows::Axis(axis) => wanted == Some(axis),
            _ => false,
        };
        if !good {
            return Err("has rows along an axis that is no batch".to_owned());
        }
    }
    if view.axis(0).is_none() {
        return Err("runs over something that has no rows".to_owned());
    }
    let axis_of_y = if batch_first { 0 } else { 2 };
    let axes = [axis_of_y, axis_of_x, axis_of_x];
    Ok((0..view.node.outputs.len()).map(|output| Rows::Axis(axes[output.min(2)])).collect())
}
