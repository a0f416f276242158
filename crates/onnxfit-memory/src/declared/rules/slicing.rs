//! Operators that choose among elements.

use onnxfit_onnx::DataType;

use super::{Entry, one};
use crate::declared::Shape;
use crate::declared::query::{Inferred, Query, known, normalise, number};
use crate::program::DeclaredDim;

pub(super) const RULES: &[Entry] = &[
    ("", &["Slice"], slice),
    ("", &["Split"], split),
    ("", &["Gather"], gather),
    ("", &["GatherElements"], gather_elements),
    ("", &["GatherND"], gather_nd),
    ("", &["Resize", "Upsample"], resize),
    ("", &["TopK"], top_k),
    ("", &["NonZero"], non_zero),
    ("", &["NonMaxSuppression"], non_max_suppression),
    ("", &["Compress"], compress),
    ("", &["OneHot"], one_hot),
];

fn slice(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), query.shape(0).map(|input| sliced(query, input))))
}

fn sliced(query: &Query<'_>, input: &[DeclaredDim]) -> Shape {
    let node = query.node;
    let unknown = || vec![DeclaredDim::Unknown; input.len()];
    let by_attribute = node.opset < 10;
    let given = |position: usize, name: &str| {
        if by_attribute { Some(node.ints(name)) } else { query.integers(position) }
    };
    let (Some(starts), Some(ends)) = (given(1, "starts"), given(2, "ends")) else { return unknown() };
    let optional = |position: usize, name: &str, default: Vec<i64>| match by_attribute {
        true if node.ints(name).is_empty() => Some(default),
        true => Some(node.ints(name).to_vec()),
        false if !query.has(position) => Some(default),
        false => query.integers(position).map(<[i64]>::to_vec),
    };
    let Some(axes) = optional(3, "axes", (0..starts.len() as i64).collect()) else { return unknown() };
    let Some(steps) = optional(4, "steps", vec![1; starts.len()]) else { return unknown() };
    let mut shape = input.to_vec();
    for (at, axis) in axes.iter().enumerate() {
        let Some(axis) = normalise(*axis, input.len()) else { return unknown() };
        let (Some(&start), Some(&end), Some(&step)) = (starts.get(at), ends.get(at), steps.get(at)) else {
            return unknown();
        };
        shape[axis] = match known(&input[axis]) {
            Some(length) => DeclaredDim::Value(slice_length(length, start, end, step)),
            None => DeclaredDim::Unknown,
        };
    }
    shape
}

/// How many elements a slice takes from `length`.
fn slice_length(length: u64, start: i64, end: i64, step: i64) -> u64 {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let wrap = |position: i64| if position < 0 { position.saturating_add(length) } else { position };
    let (low, high) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let start = wrap(start).clamp(if step < 0 { 0.min(high) } else { low }, high.max(0));
    let end = wrap(end).clamp(low, high.max(low));
    let distance = if step < 0 { start - end } else { end - start };
    let step = step.unsigned_abs().max(1);
    u64::try_from(distance).unwrap_or(0).div_ceil(step)
}

fn split(query: &Query<'_>) -> Vec<Inferred> {
    let n_outputs = query.node.outputs.len();
    let element = query.element(0);
    let only_type = || vec![Inferred::new(element, None); n_outputs];
    let Some(input) = query.shape(0) else { return only_type() };
    let Some(axis) = query.axis(0, input.len()) else { return only_type() };
    let with_length = |length: DeclaredDim| {
        let mut shape = input.to_vec();
        shape[axis] = length;
        Inferred::new(element, Some(shape))
    };
    let Some(total) = known(&input[axis]) else {
        return (0..n_outputs).map(|_| with_length(DeclaredDim::Unknown)).collect();
    };
    let attribute = query.node.ints("split");
    let lengths: Vec<i64> = if !attribute.is_empty() {
        attribute.to_vec()
    } else if query.has(1) {
        match query.integers(1) {
            Some(lengths) => lengths.to_vec(),
            None => return only_type(),
        }
    } else {
        let chunk = total.div_ceil(n_outputs.max(1) as u64);
        (0..n_outputs as u64).map(|at| total.saturating_sub(at * chunk).min(chunk) as i64).collect()
    };
    (0..n_outputs)
        .map(|at| with_length(lengths.get(at).map_or(DeclaredDim::Unknown, |length| number(*length))))
        .collect()
}

fn gather(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(1)).and_then(|(data, indices)| {
        let axis = query.axis(0, data.len())?;
        Some([&data[..axis], indices, &data[axis + 1..]].concat())
    });
    one(Inferred::new(query.element(0), shape))
}

fn gather_elements(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), query.shape_of(1)))
}

fn gather_nd(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(1)).and_then(|(data, indices)| {
        let (last, outer) = indices.split_last()?;
        let skipped = known(last)? as usize + query.node.int("batch_dims", 0).max(0) as usize;
        Some([outer, data.get(skipped..)?].concat())
    });
    one(Inferred::new(query.element(0), shape))
}

fn resize(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).map(|input| {
        let rank = input.len();
        let old = query.node.op_type == "Upsample" || query.node.opset < 11;
        let axes: Vec<usize> = match query.node.ints("axes") {
            [] => (0..rank).collect(),
            axes => axes.iter().filter_map(|&axis| normalise(axis, rank)).collect(),
        };
        let mut shape = vec![DeclaredDim::Unknown; rank];
        let scales = query.floats(if old { 1 } else { 2 }).filter(|scales| scales.len() == axes.len());
        let sizes = query.integers(3).filter(|sizes| !old && sizes.len() == axes.len());
        if let Some(sizes) = sizes {
            for (axis, size) in axes.iter().zip(sizes) {
                shape[*axis] = number(*size);
            }
        } else if let Some(scales) = scales {
            let scale_of = |at: usize| axes.iter().position(|axis| *axis == at).map_or(1.0, |i| f64::from(scales[i]));
            for (at, dim) in input.iter().enumerate() {
                if let Some(length) = known(dim) {
                    shape[at] = DeclaredDim::Value((length as f64 * scale_of(at)).floor() as u64);
                }
            }
        }
        shape
    });
    one(Inferred::new(query.element(0), shape))
}

fn top_k(query: &Query<'_>) -> Vec<Inferred> {
    let count = if query.node.opset < 10 {
        Some(query.node.int("k", 0))
    } else {
        query.integers(1).and_then(|values| values.first().copied())
    };
    let shape = query.shape(0).and_then(|input| {
        let axis = query.axis(-1, input.len())?;
        let Some(count) = count else { return Some(vec![DeclaredDim::Unknown; input.len()]) };
        let mut shape = input.to_vec();
        shape[axis] = number(count);
        Some(shape)
    });
    vec![Inferred::new(query.element(0), shape.clone()), Inferred::new(Some(DataType::Int64), shape)]
}

fn non_zero(query: &Query<'_>) -> Vec<Inferred> {
    let rank = query.shape(0).map_or(DeclaredDim::Unknown, |input| DeclaredDim::Value(input.len() as u64));
    one(Inferred::new(Some(DataType::Int64), Some(vec![rank, DeclaredDim::Unknown])))
}

fn non_max_suppression(_: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Int64), Some(vec![DeclaredDim::Unknown, DeclaredDim::Value(3)])))
}

fn compress(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|input| {
        if !query.node.attributes.contains_key("axis") {
            return Some(vec![DeclaredDim::Unknown]);
        }
        let mut shape = input.to_vec();
        shape[query.axis(0, input.len())?] = DeclaredDim::Unknown;
        Some(shape)
    });
    one(Inferred::new(query.element(0), shape))
}

fn one_hot(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|indices| {
        let axis = normalise(query.node.int("axis", -1), indices.len() + 1)?;
        let depth = query.integers(1).and_then(|depth| depth.first().copied());
        let mut shape = indices.to_vec();
        shape.insert(axis, depth.map_or(DeclaredDim::Unknown, number));
        Some(shape)
    });
    one(Inferred::new(query.element(2), shape))
}
