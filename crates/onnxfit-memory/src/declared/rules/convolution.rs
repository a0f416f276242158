//! Convolution, pooling and their relatives.

use onnxfit_onnx::DataType;

use super::{Entry, one};
use crate::declared::Shape;
use crate::declared::query::{Inferred, Query, known, number};
use crate::program::{DeclaredDim, Node};

pub(super) const RULES: &[Entry] = &[
    ("", &["Conv"], convolution),
    ("", &["MaxPool", "AveragePool", "LpPool"], pool),
    ("", &["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"], global_pool),
    ("", &["ConvTranspose"], transposed),
    ("", &["ConvInteger"], integer_convolution),
    ("", &["LSTM", "GRU", "RNN"], recurrent),
];

pub(super) fn convolution(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), windows(query, 1)))
}

fn integer_convolution(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Int32), windows(query, 1)))
}

/// `convPoolShapeInference` with filters in the input at `filters`.
pub(super) fn windows(query: &Query<'_>, filters: usize) -> Option<Shape> {
    windows_of(query, query.shape(0)?, filters)
}

/// The same on an input of this shape.
pub(super) fn windows_of(query: &Query<'_>, input: &[DeclaredDim], filters: usize) -> Option<Shape> {
    let weight = query.shape(filters)?;
    let spatial = input.get(2..).filter(|spatial| !spatial.is_empty())?;
    let kernel = match query.node.ints("kernel_shape") {
        [] => weight.get(2..)?.iter().map(|dim| known(dim).map(|side| side as i64)).collect::<Option<Vec<i64>>>()?,
        sides => sides.to_vec(),
    };
    let sides = slide(query.node, spatial, &kernel, true)?;
    Some([input[0].clone(), weight.first()?.clone()].into_iter().chain(sides).collect())
}

fn pool(query: &Query<'_>) -> Vec<Inferred> {
    let dilates = query.node.op_type != "LpPool" || query.node.opset >= 18;
    let shape = query.shape(0).and_then(|input| pooled(query.node, input, dilates));
    vec![Inferred::new(query.element(0), shape.clone()), Inferred::new(Some(DataType::Int64), shape)]
}

/// Batch and channels, and how often the window fits on each side.
pub(super) fn pooled(node: &Node, input: &[DeclaredDim], dilates: bool) -> Option<Shape> {
    let spatial = input.get(2..).filter(|spatial| !spatial.is_empty())?;
    let sides = slide(node, spatial, node.ints("kernel_shape"), dilates)?;
    Some(input[..2].iter().cloned().chain(sides).collect())
}

/// How often a window fits on each side; unknown sides stay unknown.
fn slide(node: &Node, spatial: &[DeclaredDim], kernel: &[i64], dilates: bool) -> Option<Shape> {
    let n = spatial.len();
    if kernel.len() != n {
        return None;
    }
    let or_ones = |values: &[i64]| if values.len() == n { values.to_vec() } else { vec![1; n] };
    let strides = or_ones(node.ints("strides"));
    let dilations = if dilates { or_ones(node.ints("dilations")) } else { vec![1; n] };
    let ceil = node.int("ceil_mode", 0) != 0;
    let given = node.ints("pads");
    spatial
        .iter()
        .enumerate()
        .map(|(at, side)| {
            let Some(side) = known(side) else { return Some(DeclaredDim::Unknown) };
            let (side, stride) = (i64::try_from(side).ok()?, strides[at].max(1));
            let window = (kernel[at] - 1).checked_mul(dilations[at])? + 1;
            let (before, after) = match (given.len() == 2 * n, node.text("auto_pad", "NOTSET")) {
                (true, _) => (given[at], given[at + n]),
                (false, "SAME_UPPER" | "SAME_LOWER") => {
                    let rest = side % stride;
                    let total = (window - if rest == 0 { stride } else { rest }).max(0);
                    (total / 2, total - total / 2)
                }
                _ => (0, 0),
            };
            let room = side.checked_add(before)?.checked_add(after)? - window;
            let mut count = if ceil { room + stride - 1 } else { room } / stride + 1;
            if ceil && (count - 1) * stride >= side + before {
                count -= 1;
            }
            Some(number(count))
        })
        .collect()
}

fn global_pool(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape_of(0).filter(|shape| shape.len() >= 2).map(|mut shape| {
        shape[2..].fill(DeclaredDim::Value(1));
        shape
    });
    one(Inferred::new(query.element(0), shape))
}

fn transposed(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), transposed_shape(query)))
}

fn transposed_shape(query: &Query<'_>) -> Option<Shape> {
    let node = query.node;
    let (input, weight) = (query.shape(0)?, query.shape(1)?);
    let n = input.len().checked_sub(2).filter(|n| *n > 0)?;
    let kernel: Vec<i64> = match node.ints("kernel_shape") {
        [] => weight.get(2..)?.iter().map(|dim| known(dim).map(|side| side as i64)).collect::<Option<_>>()?,
        sides => sides.to_vec(),
    };
    let filters = known(weight.get(1)?)
        .map_or(DeclaredDim::Unknown, |filters| number((filters as i64).saturating_mul(node.int("group", 1))));
    let mut shape = vec![input[0].clone(), filters];
    let value_at = |values: &[i64], at: usize, default: i64| values.get(at).copied().unwrap_or(default);
    for at in 0..n {
        let fixed = node.ints("output_shape");
        if fixed.len() == n {
            shape.push(number(fixed[at]));
            continue;
        }
        let side = known(&input[2 + at]).map(|side| {
            let stride = value_at(node.ints("strides"), at, 1);
            let window = (value_at(&kernel, at, 1) - 1) * value_at(node.ints("dilations"), at, 1) + 1;
            let pads = match node.text("auto_pad", "NOTSET") {
                "SAME_UPPER" | "SAME_LOWER" => (window - stride).max(0),
                _ => value_at(node.ints("pads"), at, 0) + value_at(node.ints("pads"), at + n, 0),
            };
            stride * (side as i64 - 1) + value_at(node.ints("output_padding"), at, 0) + window - pads
        });
        shape.push(side.map_or(DeclaredDim::Unknown, number));
    }
    Some(shape)
}

fn recurrent(query: &Query<'_>) -> Vec<Inferred> {
    let node = query.node;
    let directions = number(if node.text("direction", "forward") == "bidirectional" { 2 } else { 1 });
    let hidden = match node.int("hidden_size", -1) {
        size if size > 0 => number(size),
        _ => DeclaredDim::Unknown,
    };
    let batch_first = node.int("layout", 0) != 0;
    let (mut steps, mut batch) = (DeclaredDim::Unknown, DeclaredDim::Unknown);
    if let Some([first, second, _]) = query.shape(0) {
        (steps, batch) = if batch_first { (second.clone(), first.clone()) } else { (first.clone(), second.clone()) };
    }
    let (all, last) = if batch_first {
        (vec![batch.clone(), steps, directions.clone(), hidden.clone()], vec![batch, directions, hidden])
    } else {
        (vec![steps, directions.clone(), batch.clone(), hidden.clone()], vec![directions, batch, hidden])
    };
    let element = query.element(0);
    vec![
        Inferred::new(element, Some(all)),
        Inferred::new(element, Some(last.clone())),
        Inferred::new(element, Some(last)),
    ]
}
