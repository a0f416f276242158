//! How the axes before and after a reshape share one row-major order.
//!
//! The two shapes are cut into blocks of equal products; within a block, both sides are products
//! of common factors. Each factor is found in one axis of each side, at some stride.

use onnxfit_shape::Expr;

/// Where a factor is: index `i` of the axis has the factor's index `(i / stride) % size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) axis: usize,
    pub(crate) stride: usize,
}

/// A number that both sides of a block are multiples of, in the same place of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Factor {
    pub(crate) size: usize,
    /// In an axis of the input; `None` if that axis has no fixed size.
    pub(crate) input: Option<Side>,
    /// In an axis of the output.
    pub(crate) output: Option<Side>,
}

/// Axes of both sides that together hold the same elements in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) factors: Vec<Factor>,
}

impl Block {
    /// The one axis on each side, if the block is no more than that.
    pub(crate) fn as_pair(&self) -> Option<(usize, usize)> {
        match (self.inputs.as_slice(), self.outputs.as_slice()) {
            ([one], [other]) => Some((*one, *other)),
            _ => None,
        }
    }
}

/// Cuts two shapes of equally many elements into blocks, as small as can be proved.
pub(crate) fn blocks(input: &[Expr], output: &[Expr]) -> Vec<Block> {
    let real = |shape: &[Expr]| -> Vec<usize> { (0..shape.len()).filter(|axis| !shape[*axis].is(1)).collect() };
    let (mut ins, mut outs) = (real(input), real(output));
    let mut found = Vec::new();
    while let Some((n_in, n_out)) = first_equal(input, &ins, output, &outs, false) {
        found.push(block(input, ins.drain(..n_in).collect(), output, outs.drain(..n_out).collect()));
    }
    let mut tail = Vec::new();
    while let Some((n_in, n_out)) = first_equal(input, &ins, output, &outs, true) {
        let (ins, outs) = (ins.split_off(ins.len() - n_in), outs.split_off(outs.len() - n_out));
        tail.push(block(input, ins, output, outs));
    }
    if !ins.is_empty() || !outs.is_empty() {
        found.push(block(input, ins, output, outs));
    }
    found.extend(tail.into_iter().rev());
    found
}

/// The fewest axes from one end whose products are equal.
fn first_equal(input: &[Expr], ins: &[usize], output: &[Expr], outs: &[usize], back: bool) -> Option<(usize, usize)> {
    let product = |shape: &[Expr], axes: &[usize], n: usize| {
        let taken = if back { &axes[axes.len() - n..] } else { &axes[..n] };
        let dims: Vec<Expr> = taken.iter().map(|axis| shape[*axis].clone()).collect();
        Expr::product(&dims)
    };
    let in_products: Vec<_> = (1..=ins.len()).map(|n| product(input, ins, n)).collect();
    let out_products: Vec<_> = (1..=outs.len()).map(|n| product(output, outs, n)).collect();
    let mut best: Option<(usize, usize)> = None;
    for (n_in, one) in in_products.iter().enumerate() {
        for (n_out, other) in out_products.iter().enumerate() {
            if one.is_some() && one == other && best.is_none_or(|(a, b)| n_in + n_out + 2 < a + b) {
                best = Some((n_in + 1, n_out + 1));
            }
        }
    }
    best
}

fn block(input: &[Expr], inputs: Vec<usize>, output: &[Expr], outputs: Vec<usize>) -> Block {
    let mut factors = Vec::new();
    let is_whole = walk(input, &inputs, output, &outputs, false, &mut factors);
    if !is_whole {
        walk(input, &inputs, output, &outputs, true, &mut factors);
    }
    Block { inputs, outputs, factors }
}

/// The common factors from one end, as far as sizes are fixed and divide each other. Says whether
/// that took everything.
fn walk(
    input: &[Expr],
    inputs: &[usize],
    output: &[Expr],
    outputs: &[usize],
    from_back: bool,
    found: &mut Vec<Factor>,
) -> bool {
    let size = |shape: &[Expr], axis: usize| usize::try_from(shape[axis].as_constant()?).ok().filter(|size| *size > 0);
    let order =
        |axes: &[usize]| -> Vec<usize> { if from_back { axes.iter().rev().copied().collect() } else { axes.to_vec() } };
    let (inputs, outputs) = (order(inputs), order(outputs));
    let (mut at_in, mut at_out) = (0, 0);
    // What is left of the axis in hand, and its whole size.
    let mut left_in: Option<(usize, usize)> = None;
    let mut left_out: Option<(usize, usize)> = None;
    loop {
        if at_in == inputs.len() && at_out == outputs.len() {
            return true;
        }
        let (Some(in_axis), Some(out_axis)) = (inputs.get(at_in), outputs.get(at_out)) else { return false };
        let Some((rest_in, whole_in)) = left_in.or_else(|| size(input, *in_axis).map(|n| (n, n))) else {
            return false;
        };
        let Some((rest_out, whole_out)) = left_out.or_else(|| size(output, *out_axis).map(|n| (n, n))) else {
            return false;
        };
        let common = rest_in.min(rest_out);
        if rest_in % common != 0 || rest_out % common != 0 {
            return false;
        }
        let (after_in, after_out) = (rest_in / common, rest_out / common);
        let stride = |after: usize, rest: usize, whole: usize| if from_back { whole / rest } else { after };
        found.push(Factor {
            size: common,
            input: Some(Side { axis: *in_axis, stride: stride(after_in, rest_in, whole_in) }),
            output: Some(Side { axis: *out_axis, stride: stride(after_out, rest_out, whole_out) }),
        });
        let next = |after: usize, whole: usize, at: &mut usize| {
            if after == 1 {
                *at += 1;
                None
            } else {
                Some((after, whole))
            }
        };
        left_in = next(after_in, whole_in, &mut at_in);
        left_out = next(after_out, whole_out, &mut at_out);
    }
}

#[cfg(test)]
mod tests;
