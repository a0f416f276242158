//! Reads the requested size as a product: of a model's tensor if there is a model, of the usual
//! numbers of an attention otherwise.
//!
//! Candidates, not claims: several products can give one number, and all that fit are shown.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use serde::Serialize;

use crate::context::{DimHint, ModelHints, TensorHint};

/// What a requested size can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeReading {
    /// The product, such as `500 x 16 x 512^2 x 4`.
    pub product: String,
    /// The tensor of the model, if there is one.
    pub tensor: Option<String>,
    /// The node that makes it.
    pub node: Option<String>,
    /// The named dimensions and their values.
    pub dims: BTreeMap<String, u64>,
    /// Whether this is the node that the message names.
    pub is_failing_node: bool,
}

/// The arena rounds every request up to this (bfc_arena.h, kMinAllocationSize).
const ROUNDING: u64 = 256;
const READINGS_MAX: usize = 6;
/// More rows than this in one run are possible and rare.
const ROWS_USUAL: u64 = 4096;
/// Lengths that models are run at, tried for a dimension that comes besides another unknown.
const LENGTHS: &[u64] = &[
    16, 32, 64, 77, 96, 128, 160, 192, 197, 224, 256, 320, 384, 448, 512, 577, 640, 768, 1024, 1500, 2048, 4096, 8192,
    16384, 32768,
];

/// What `requested` can be in this model.
pub(crate) fn in_model(requested: u64, failing: Option<&str>, model: &ModelHints) -> Vec<SizeReading> {
    let mut readings: Vec<SizeReading> = Vec::new();
    for tensor in &model.tensors {
        let is_failing_node = failing.is_some() && tensor.node.as_deref() == failing;
        for dims in solve(requested, tensor) {
            readings.push(SizeReading {
                product: product_of(tensor, &dims),
                tensor: Some(tensor.name.clone()),
                node: tensor.node.clone(),
                dims,
                is_failing_node,
            });
        }
    }
    // The node that failed first, then whoever explains the number with the fewest unknowns.
    readings.sort_by_key(|reading| (!reading.is_failing_node, reading.dims.len(), reading.tensor.clone()));
    if readings.first().is_some_and(|reading| reading.is_failing_node) {
        readings.retain(|reading| reading.is_failing_node);
    }
    readings.truncate(READINGS_MAX);
    readings
}

fn rounds_to(bytes: u64, requested: u64) -> bool {
    Bytes(bytes).checked_round_up(ROUNDING) == Some(Bytes(requested)) || bytes == requested
}

/// The values of the named dimensions that give the requested size.
fn solve(requested: u64, tensor: &TensorHint) -> Vec<BTreeMap<String, u64>> {
    let mut known = tensor.element_bytes;
    let mut powers: BTreeMap<&str, u32> = BTreeMap::new();
    for dim in &tensor.dims {
        match dim {
            DimHint::Known(n) => match known.checked_mul(*n) {
                Some(product) => known = product,
                None => return Vec::new(),
            },
            DimHint::Named(name) => *powers.entry(name).or_default() += 1,
        }
    }
    if known == 0 {
        return Vec::new();
    }
    let named: Vec<(&str, u32)> = powers.into_iter().collect();
    let total = |values: &[u64]| {
        named
            .iter()
            .zip(values)
            .try_fold(known, |product, ((_, power), value)| product.checked_mul(value.checked_pow(*power)?))
    };
    let assignment = |values: &[u64]| -> BTreeMap<String, u64> {
        named.iter().zip(values).map(|((name, _), value)| ((*name).to_owned(), *value)).collect()
    };
    let fits = |values: &[u64]| total(values).is_some_and(|bytes| rounds_to(bytes, requested));
    match named.as_slice() {
        [] if rounds_to(known, requested) => vec![BTreeMap::new()],
        [(_, power)] => {
            let near = root(requested / known, *power);
            (near.max(1)..=near + 1).filter(|value| fits(&[*value])).take(1).map(|value| assignment(&[value])).collect()
        }
        [(_, first), (_, second)] => {
            // The dimension of the higher power is the length; without one, the second by name.
            let length_is_first = first > second;
            let (length_power, rows_power) = if length_is_first { (*first, *second) } else { (*second, *first) };
            let mut found = Vec::new();
            for length in LENGTHS {
                let Some(per_row) = length.checked_pow(length_power).and_then(|n| n.checked_mul(known)) else {
                    continue;
                };
                let near = root(requested / per_row, rows_power);
                for rows in near.max(1)..=near + 1 {
                    let values = if length_is_first { [*length, rows] } else { [rows, *length] };
                    // The rounding would let many lengths through that are only nearly right.
                    if total(&values) == Some(requested) {
                        found.push((*length, rows, assignment(&values)));
                    }
                }
            }
            // Few rows first, then lengths near 512, the most usual limit.
            found.sort_by_key(|(length, rows, _)| (*rows > ROWS_USUAL, length.ilog2().abs_diff(9), *length));
            found.into_iter().take(READINGS_MAX).map(|(_, _, dims)| dims).collect()
        }
        _ => Vec::new(),
    }
}

fn root(value: u64, power: u32) -> u64 {
    match power {
        0 => 0,
        1 => value,
        2 => value.isqrt(),
        _ => (value as f64).powf(1.0 / f64::from(power)) as u64,
    }
}

fn product_of(tensor: &TensorHint, dims: &BTreeMap<String, u64>) -> String {
    let number = |dim: &DimHint| match dim {
        DimHint::Known(n) => *n,
        DimHint::Named(name) => dims.get(name).copied().unwrap_or(0),
    };
    let mut factors: Vec<(u64, u32)> = Vec::new();
    for value in tensor.dims.iter().map(number) {
        match factors.last_mut() {
            Some((last, power)) if *last == value => *power += 1,
            _ => factors.push((value, 1)),
        }
    }
    factors.push((tensor.element_bytes, 1));
    let text = |(value, power): &(u64, u32)| if *power == 1 { value.to_string() } else { format!("{value}^{power}") };
    factors.iter().map(text).collect::<Vec<_>>().join(" x ")
}

/// What the size of an attention's scores can be: rows x heads x length^2 x bytes of an element.
pub(crate) fn as_attention(requested: u64, node: Option<&str>) -> Vec<SizeReading> {
    const HEADS: &[u64] = &[12, 16, 8, 32];
    let mut readings = Vec::new();
    for length in [512_u64, 256, 1024, 2048, 4096, 384, 128, 16384] {
        for heads in HEADS {
            let per_row = heads * length * length * 4;
            let rows = requested / per_row;
            if requested.is_multiple_of(per_row) && (1..=4096).contains(&rows) {
                readings.push(SizeReading {
                    product: format!("{rows} x {heads} x {length}^2 x 4"),
                    tensor: None,
                    node: node.map(str::to_owned),
                    dims: BTreeMap::from([
                        ("rows".to_owned(), rows),
                        ("heads".to_owned(), *heads),
                        ("length".to_owned(), length),
                    ]),
                    is_failing_node: true,
                });
            }
        }
    }
    readings.truncate(READINGS_MAX);
    readings
}

#[cfg(test)]
mod tests;
