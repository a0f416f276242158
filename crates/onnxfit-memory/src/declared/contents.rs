//! Integers that flow from `Shape` to `Reshape` at load.
//!
//! `Graph::SaveShapeValuesFromDataPropagation` and `graph/data_propagation` (ORT 1.31): only values
//! that are numbers throughout are kept, and weights are not a source, so chains that mix a name or
//! a constant in are lost. Weaker than it could be, on purpose.

use super::query::{Query, known, normalise};
use crate::program::KnownIntegers;

/// What the first output holds, if the runtime knows.
pub(super) fn propagate(query: &Query<'_>) -> Option<KnownIntegers> {
    if !query.node.domain.is_empty() {
        return None;
    }
    match query.node.op_type.as_str() {
        "Shape" => shape(query),
        "Size" => size(query),
        "Cast" => query.propagated(0).filter(|values| !values.is_scalar).cloned(),
        "Concat" => concat(query),
        "Gather" => gather(query),
        "Slice" => slice(query),
        "Squeeze" => squeeze(query),
        "Unsqueeze" => unsqueeze(query),
        "Add" => arithmetic(query, i64::checked_add),
        "Sub" => arithmetic(query, i64::checked_sub),
        "Mul" => arithmetic(query, i64::checked_mul),
        "Div" => single(query, i64::checked_div),
        _ => None,
    }
}

fn vector(elements: Vec<i64>) -> Option<KnownIntegers> {
    (!elements.is_empty()).then_some(KnownIntegers { is_scalar: false, elements })
}

fn shape(query: &Query<'_>) -> Option<KnownIntegers> {
    let dims = query.shape(0)?;
    let rank = dims.len() as i64;
    let clamp = |position: i64| (if position < 0 { position + rank } else { position }).clamp(0, rank) as usize;
    let (start, end) = (clamp(query.node.int("start", 0)), clamp(query.node.int("end", rank)));
    let numbers: Option<Vec<i64>> =
        dims.get(start..end.max(start))?.iter().map(|dim| i64::try_from(known(dim)?).ok()).collect();
    vector(numbers?)
}

fn size(query: &Query<'_>) -> Option<KnownIntegers> {
    let values = query.propagated(0).filter(|values| !values.is_scalar)?;
    let product = values.elements.iter().try_fold(1_i64, |product, &value| product.checked_mul(value))?;
    Some(KnownIntegers { is_scalar: true, elements: vec![product] })
}

fn concat(query: &Query<'_>) -> Option<KnownIntegers> {
    if normalise(query.node.int("axis", 0), 1) != Some(0) {
        return None;
    }
    let mut elements = Vec::new();
    for position in 0..query.node.inputs.len() {
        elements.extend_from_slice(&query.propagated(position).filter(|values| !values.is_scalar)?.elements);
    }
    vector(elements)
}

/// The schema's own rule needs propagated indices, which weights are not; the runtime's adds one
/// constant index.
fn gather(query: &Query<'_>) -> Option<KnownIntegers> {
    let values = query.propagated(0).filter(|values| !values.is_scalar)?;
    let index = query.constant_at(1)?;
    let [at] = index.elements[..] else { return None };
    let element = *values.elements.get(normalise(at, values.elements.len())?)?;
    let is_scalar = match query.shape(1)?.len() {
        0 => true,
        1 => false,
        _ => return None,
    };
    Some(KnownIntegers { is_scalar, elements: vec![element] })
}

/// The schema's rule wants starts and ends that were propagated themselves.
fn slice(query: &Query<'_>) -> Option<KnownIntegers> {
    let values = query.propagated(0)?;
    let (starts, ends) = (query.propagated(1)?, query.propagated(2)?);
    let axes_are_zero = !query.has(3) || query.propagated(3).is_some_and(|axes| axes.elements == [0]);
    let step = if query.has(4) { *query.propagated(4)?.elements.first()? } else { 1 };
    let ([start], [end]) = (&starts.elements[..], &ends.elements[..]) else { return None };
    if !axes_are_zero || step != 1 {
        return None;
    }
    let rank = values.elements.len() as i64;
    let clamp = |position: i64| (if position < 0 { position + rank } else { position }).clamp(0, rank) as usize;
    vector(values.elements.get(clamp(*start)..clamp(*end).max(clamp(*start)))?.to_vec())
}

fn squeeze(query: &Query<'_>) -> Option<KnownIntegers> {
    let values = query.propagated(0).filter(|values| !values.is_scalar)?;
    match values.elements.len() {
        1 => Some(KnownIntegers { is_scalar: true, ..values.clone() }),
        _ => Some(values.clone()),
    }
}

fn unsqueeze(query: &Query<'_>) -> Option<KnownIntegers> {
    let values = query.propagated(0)?;
    values.is_scalar.then(|| KnownIntegers { is_scalar: false, ..values.clone() })
}

fn arithmetic(query: &Query<'_>, operation: fn(i64, i64) -> Option<i64>) -> Option<KnownIntegers> {
    let (left, right) = (query.propagated(0)?, query.propagated(1)?);
    if left.is_scalar || right.is_scalar {
        return single(query, operation);
    }
    let (n_left, n_right) = (left.elements.len(), right.elements.len());
    if n_left != n_right && n_left != 1 && n_right != 1 {
        return None;
    }
    let at = |values: &KnownIntegers, i: usize| values.elements[if values.elements.len() == 1 { 0 } else { i }];
    let elements: Option<Vec<i64>> = (0..n_left.max(n_right)).map(|i| operation(at(left, i), at(right, i))).collect();
    vector(elements?)
}

fn single(query: &Query<'_>, operation: fn(i64, i64) -> Option<i64>) -> Option<KnownIntegers> {
    let (left, right) = (query.propagated(0)?, query.propagated(1)?);
    let ([a], [b]) = (&left.elements[..], &right.elements[..]) else { return None };
    Some(KnownIntegers { is_scalar: left.is_scalar && right.is_scalar, elements: vec![operation(*a, *b)?] })
}
