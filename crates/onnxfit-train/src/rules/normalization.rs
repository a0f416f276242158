//! Normalizations within one sample.

use onnxfit_onnx::DataType;
use onnxfit_shape::Expr;

use crate::emit::int;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::rules::batch_norm::inverse_deviation;
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "GroupNormalization", group_normalization),
    ("", "InstanceNormalization", instance_normalization),
    ("", "LRN", local_response),
    ("", "LayerNormalization", layer_normalization),
    ("", "LpNormalization", lp_normalization),
    ("", "MeanVarianceNormalization", mean_variance),
    ("", "RMSNormalization", rms_normalization),
    ("com.microsoft", "SimplifiedLayerNormalization", rms_normalization),
    ("", "SimplifiedLayerNormalization", rms_normalization),
];

/// The gradient of `x` from that of its normalized form `hat`:
/// `inverse (dhat - mean(dhat) - hat mean(dhat hat))`.
fn through(c: &mut Reverse<'_>, dhat: Var, hat: Var, inverse: Var, axes: &[i64]) -> Var {
    let weighted = c.mul(dhat, hat);
    let mean = c.reduce_mean(dhat, axes, true);
    let mean_weighted = c.reduce_mean(weighted, axes, true);
    let along = c.mul(hat, mean_weighted);
    let rest = c.sub(dhat, mean);
    let rest = c.sub(rest, along);
    c.mul(rest, inverse)
}

/// The normalized form of `x`, and one over its deviation.
fn normalize(c: &mut Reverse<'_>, x: Var, axes: &[i64], epsilon: f64, element_type: DataType) -> (Var, Var) {
    let mean = c.reduce_mean(x, axes, true);
    let centered = c.sub(x, mean);
    let square = c.mul(centered, centered);
    let variance = c.reduce_mean(square, axes, true);
    let inverse = inverse_deviation(c.tape, variance, element_type, epsilon);
    let hat = c.mul(centered, inverse);
    (hat, inverse)
}

fn layer_normalization(c: &mut Reverse<'_>) -> RuleResult {
    let (x, scale, y, dy) = (c.x(0)?, c.x(1)?, c.y()?, c.dy()?);
    if c.output_gradients.iter().skip(1).any(Option::is_some) {
        return unsupported("is needed for another output than its first");
    }
    let axis = c.int_or("axis", -1);
    let axes: Vec<i64> = if axis < 0 { (axis..0).collect() } else { (axis..c.rank(0)? as i64).collect() };
    let element_type = c.element_type();
    let epsilon = c.float_or("epsilon", 1e-5);
    // In single precision the operator itself tells mean and inverse deviation.
    let told = (element_type == DataType::Float).then(|| (c.extra_output(y, 1), c.extra_output(y, 2)));
    let (hat, inverse) = match told {
        Some((Some(mean), Some(inverse))) => {
            let centered = c.sub(x, mean);
            (c.mul(centered, inverse), inverse)
        }
        _ => normalize(c, x, &axes, epsilon, element_type),
    };
    if c.wants(2) {
        c.give_reduced(2, dy)?;
    }
    if c.wants(1) {
        let weighted = c.mul(dy, hat);
        c.give_reduced(1, weighted)?;
    }
    if c.wants(0) {
        let dhat = c.mul(dy, scale);
        let gradient = through(c, dhat, hat, inverse, &axes);
        c.give(0, gradient);
    }
    Ok(())
}

fn instance_normalization(c: &mut Reverse<'_>) -> RuleResult {
    let (x, scale, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let rank = c.rank(0)? as i64;
    let spatial: Vec<i64> = (2..rank).collect();
    let element_type = c.element_type();
    let epsilon = c.float_or("epsilon", 1e-5);
    let (hat, inverse) = normalize(c, x, &spatial, epsilon, element_type);
    scale_and_bias(c, dy, hat, rank);
    if c.wants(0) {
        let scale = c.unsqueeze(scale, &(1..rank - 1).collect::<Vec<_>>());
        let dhat = c.mul(dy, scale);
        let gradient = through(c, dhat, hat, inverse, &spatial);
        c.give(0, gradient);
    }
    Ok(())
}

/// Gives the gradients of a scale and a bias per channel.
fn scale_and_bias(c: &mut Reverse<'_>, dy: Var, hat: Var, rank: i64) {
    let others: Vec<i64> = [0].into_iter().chain(2..rank).collect();
    if c.wants(1) {
        let weighted = c.mul(dy, hat);
        let gradient = c.reduce_sum(weighted, &others, false);
        c.give(1, gradient);
    }
    if c.wants(2) {
        let gradient = c.reduce_sum(dy, &others, false);
        c.give(2, gradient);
    }
}

fn group_normalization(c: &mut Reverse<'_>) -> RuleResult {
    let (x, scale, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let rank = c.rank(0)? as i64;
    let n_groups = c.int_or("num_groups", 1);
    let element_type = c.element_type();
    let epsilon = c.float_or("epsilon", 1e-5);
    let rows = c.ints(&[0, n_groups, -1]);
    let grouped = c.reshape(x, rows);
    let (hat, inverse) = normalize(c, grouped, &[2], epsilon, element_type);
    // Until version 21 there is one scale per group, then one per channel.
    if c.opset < 21 {
        let dy_rows = c.reshape(dy, rows);
        scale_and_bias(c, dy_rows, hat, 3);
        if c.wants(0) {
            let scale = c.unsqueeze(scale, &[1]);
            let dhat = c.mul(dy_rows, scale);
            let gradient = through(c, dhat, hat, inverse, &[2]);
            let gradient = c.reshape_like(gradient, 0)?;
            c.give(0, gradient);
        }
        return Ok(());
    }
    if c.wants(1) || c.wants(2) {
        let flat = c.reshape_like(hat, 0)?;
        scale_and_bias(c, dy, flat, rank);
    }
    if c.wants(0) {
        let scale = c.unsqueeze(scale, &(1..rank - 1).collect::<Vec<_>>());
        let dhat = c.mul(dy, scale);
        let dhat = c.reshape(dhat, rows);
        let gradient = through(c, dhat, hat, inverse, &[2]);
        let gradient = c.reshape_like(gradient, 0)?;
        c.give(0, gradient);
    }
    Ok(())
}

fn rms_normalization(c: &mut Reverse<'_>) -> RuleResult {
    let (x, scale, dy) = (c.x(0)?, c.x(1)?, c.dy()?);
    let axis = c.int_or("axis", -1);
    let axes: Vec<i64> = if axis < 0 { (axis..0).collect() } else { (axis..c.rank(0)? as i64).collect() };
    let element_type = c.element_type();
    let epsilon = c.float_or("epsilon", 1e-5);
    let square = c.mul(x, x);
    let mean = c.reduce_mean(square, &axes, true);
    let inverse = inverse_deviation(c.tape, mean, element_type, epsilon);
    let hat = c.mul(x, inverse);
    if c.wants(1) {
        let weighted = c.mul(dy, hat);
        c.give_reduced(1, weighted)?;
    }
    if c.wants(0) {
        let dhat = c.mul(dy, scale);
        let weighted = c.mul(dhat, hat);
        let mean = c.reduce_mean(weighted, &axes, true);
        let along = c.mul(hat, mean);
        let rest = c.sub(dhat, along);
        let gradient = c.mul(rest, inverse);
        c.give(0, gradient);
    }
    Ok(())
}

/// `x / |x|`.
fn lp_normalization(c: &mut Reverse<'_>) -> RuleResult {
    let (x, y, dy) = (c.x(0)?, c.y()?, c.dy()?);
    let axis = c.int_or("axis", -1);
    let weighted = c.mul(dy, y);
    let along = c.reduce_sum(weighted, &[axis], true);
    let (norm, direction) = match c.int_or("p", 2) {
        1 => (c.reduce("ReduceL1", x, &[axis], true), c.sign(x)),
        _ => (c.reduce("ReduceL2", x, &[axis], true), y),
    };
    let along = c.mul(direction, along);
    let rest = c.sub(dy, along);
    let gradient = c.div(rest, norm);
    c.give(0, gradient);
    Ok(())
}

fn mean_variance(c: &mut Reverse<'_>) -> RuleResult {
    let (x, y, dy) = (c.x(0)?, c.y()?, c.dy()?);
    let axes = c.node.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let element_type = c.element_type();
    // The operator's own constant (onnx, MeanVarianceNormalization-13).
    let (_, inverse) = normalize(c, x, &axes, 1e-9, element_type);
    let gradient = through(c, dy, y, inverse, &axes);
    c.give(0, gradient);
    Ok(())
}

/// `x s^-beta` with `s = bias + alpha/size * Σ x^2` over neighbouring channels.
fn local_response(c: &mut Reverse<'_>) -> RuleResult {
    let (x, y, dy) = (c.x(0)?, c.y()?, c.dy()?);
    let Some(n_channels) = c.known_dim(0, 1) else { return unsupported("has an unknown number of channels") };
    let size = c.int_or("size", 1);
    let (alpha, beta) = (c.float_or("alpha", 1e-4), c.float_or("beta", 0.75));
    let bias = c.float_or("bias", 1.0);
    let element_type = c.element_type();
    let near = neighbours(n_channels, size);
    let near = c.numbers(element_type, &[n_channels, n_channels], &near);
    let turned = c.transpose(near, &[1, 0]);
    let square = c.mul(x, x);
    let sum = over_channels(c, near, square)?;
    let scaled = c.times(sum, alpha / size as f64);
    let bias = c.value(bias);
    let base = c.add(scaled, bias);
    let exponent = c.value(-beta);
    let factor = c.pow(base, exponent);
    let direct = c.mul(dy, factor);
    let weighted = c.mul(dy, y);
    let weighted = c.div(weighted, base);
    let gathered = over_channels(c, turned, weighted)?;
    let indirect = c.mul(gathered, x);
    let indirect = c.times(indirect, 2.0 * alpha * beta / size as f64);
    let gradient = c.sub(direct, indirect);
    c.give(0, gradient);
    Ok(())
}

/// Row `i` is one where channel `j` counts among `i`'s neighbours (onnx, LRN).
fn neighbours(n_channels: i64, size: i64) -> Vec<f64> {
    let (before, after) = ((size - 1) / 2, size / 2);
    let is_near = move |i: i64, j: i64| j >= i - before && j <= i + after;
    (0..n_channels).flat_map(|i| (0..n_channels).map(move |j| f64::from(is_near(i, j)))).collect()
}

fn over_channels(c: &mut Reverse<'_>, matrix: Var, value: Var) -> Result<Var, Unsupported> {
    let columns = c.ints(&[0, 0, -1]);
    let columns = c.reshape(value, columns);
    let product = c.matmul(matrix, columns);
    let known: Option<Vec<i64>> =
        c.shape_of(0).and_then(|dims: &[Expr]| dims.get(2..)?.iter().map(Expr::as_constant).collect());
    if let Some(spatial) = known {
        let target: Vec<i64> = [vec![0, 0], spatial].concat();
        return Ok(c.reshape_to(product, &target));
    }
    let shape = c.shape(value);
    Ok(c.op_with("Reshape", &[product, shape], vec![int("allowzero", 0)]))
}
