//! Cutting out and padding.
//!
//! A cut with step 1 is undone by padding with zeros; any other choice of places along an axis is
//! undone by adding each piece back where it came from ([`add_back`]).

use onnxfit_onnx::DataType;

use crate::emit::text;
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[("", "Pad", pad), ("", "Slice", slice)];

fn slice(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let rank = c.rank(0)?;
    let Some(starts) = c.fact(1).and_then(|fact| fact.n_elements()).and_then(|n| n.as_constant()) else {
        return unsupported("cuts an unknown number of axes");
    };
    let axes: Vec<i64> = match c.has(3) {
        false => (0..starts).collect(),
        true => c.known_ints(3).ok_or_else(|| Unsupported("cuts along axes that are not known".to_owned()))?,
    };
    let steps = match c.has(4) {
        false => vec![1; axes.len()],
        true => c.known_ints(4).ok_or_else(|| Unsupported("cuts with steps that are not known".to_owned()))?,
    };
    let axes: Vec<usize> = axes.iter().map(|axis| c.counted_from_front(*axis, rank)).collect::<Result<_, _>>()?;
    if steps.iter().any(|step| *step != 1) {
        return slice_with_steps(c, dy, &axes, rank);
    }
    let known_starts = c.known_ints(1);
    let (mut before, mut after): (Vec<Option<i64>>, Vec<Option<i64>>) = (vec![Some(0); rank], vec![Some(0); rank]);
    for (at, axis) in axes.iter().enumerate() {
        let size = c.known_dim(0, *axis);
        let left = c.output_fact(0).and_then(|fact| fact.shape.as_ref()?.get(*axis)?.as_constant());
        let start = known_starts.as_ref().and_then(|starts| starts.get(at).copied());
        before[*axis] = match (start, size) {
            (Some(start), Some(size)) if start < 0 => Some((start + size).max(0)),
            (Some(start), Some(size)) => Some(start.min(size)),
            (Some(start), None) if start >= 0 => Some(start),
            _ => None,
        };
        after[*axis] = match (before[*axis], size, left) {
            (Some(before), Some(size), Some(left)) => Some(size - left - before),
            _ => None,
        };
    }
    let numbers: Option<Vec<i64>> = before.iter().chain(&after).copied().collect();
    let pads = match numbers {
        Some(numbers) => {
            if numbers.iter().all(|number| *number == 0) {
                c.give(0, dy);
                return Ok(());
            }
            c.ints(&numbers)
        }
        None => dynamic_pads(c, &axes, &before, dy, rank)?,
    };
    let gradient = c.op("Pad", &[dy, pads]);
    c.give(0, gradient);
    Ok(())
}

/// The pads that a cut leaves on both sides, from sizes that are known when the graph runs.
fn dynamic_pads(
    c: &mut Reverse<'_>,
    axes: &[usize],
    before: &[Option<i64>],
    dy: Var,
    rank: usize,
) -> Result<Var, Unsupported> {
    let x = c.x(0)?;
    let (full, left) = (c.shape(x), c.shape(dy));
    let lost = c.sub(full, left);
    let known: Option<Vec<i64>> = before.iter().copied().collect();
    let before = match known {
        Some(before) => c.ints(&before),
        None => {
            // A start below zero counts from the end; one past the end cuts nothing off.
            let starts = c.x(1)?;
            let starts = c.cast(starts, DataType::Int64);
            let axes_vector = c.ints(&axes.iter().map(|axis| *axis as i64).collect::<Vec<_>>());
            let sizes = c.op("Gather", &[full, axes_vector]);
            let zero = c.ints(&[0]);
            let is_negative = c.less(starts, zero);
            let from_end = c.add(starts, sizes);
            let starts = c.select(is_negative, from_end, starts);
            let starts = c.maximum(starts, zero);
            let starts = c.op("Min", &[starts, sizes]);
            let rank = c.ints(&[rank as i64]);
            let zeros = c.zeros(rank, DataType::Int64);
            let places = c.unsqueeze(axes_vector, &[1]);
            c.op("ScatterND", &[zeros, places, starts])
        }
    };
    let after = c.sub(lost, before);
    Ok(c.concat(&[before, after], 0))
}

/// The same cut, made on the places' numbers, says where each piece came from.
fn slice_with_steps(c: &mut Reverse<'_>, dy: Var, axes: &[usize], rank: usize) -> RuleResult {
    let x = c.x(0)?;
    let mut gradient = dy;
    for (at, axis) in axes.iter().enumerate() {
        let size = c.dim(x, *axis as i64);
        let count = c.squeeze(size, &[0]);
        let places = c.range(count);
        let part = |c: &mut Reverse<'_>, index: usize| -> Result<Var, Unsupported> {
            let all = c.x(index)?;
            let all = c.cast(all, DataType::Int64);
            Ok(c.slice(all, 0, at as i64, at as i64 + 1))
        };
        let (start, end) = (part(c, 1)?, part(c, 2)?);
        let step = if c.has(4) { part(c, 4)? } else { c.ints(&[1]) };
        let zero = c.ints(&[0]);
        let places = c.op("Slice", &[places, start, end, zero, step]);
        gradient = add_back(c, gradient, places, size, *axis, rank)?;
    }
    c.give(0, gradient);
    Ok(())
}

/// Adds the pieces of `dy` along `axis` to zeros of `size`, each at its place.
pub(super) fn add_back(
    c: &mut Reverse<'_>,
    dy: Var,
    places: Var,
    size: Var,
    axis: usize,
    rank: usize,
) -> Result<Var, Unsupported> {
    // The axis comes first, so that each piece is one block.
    let mut perm: Vec<i64> = (0..rank as i64).filter(|other| *other != axis as i64).collect();
    perm.insert(0, axis as i64);
    let mut inverse = vec![0i64; rank];
    perm.iter().enumerate().for_each(|(to, from)| inverse[*from as usize] = to as i64);
    let pieces = c.transpose(dy, &perm);
    let shape = if rank == 1 {
        size
    } else {
        let rest = c.dims(pieces, 1, None);
        c.concat(&[size, rest], 0)
    };
    let element_type = c.element_type();
    let zeros = c.zeros(shape, element_type);
    let places = c.unsqueeze(places, &[-1]);
    let sum = c.op_with("ScatterND", &[zeros, places, pieces], vec![text("reduction", "add")]);
    Ok(c.transpose(sum, &inverse))
}

fn pad(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let rank = c.rank(0)?;
    let mode = c.node.string("mode").unwrap_or("constant").to_owned();
    let axes = match c.has(3) {
        false => (0..rank).collect(),
        true => match c.known_ints(3) {
            Some(axes) => axes.iter().map(|axis| c.counted_from_front(*axis, rank)).collect::<Result<Vec<_>, _>>()?,
            None => return unsupported("pads axes that are not known"),
        },
    };
    if mode != "constant" {
        return pad_by_copies(c, dy, &mode, &axes, rank);
    }
    let pads = c.x(1)?;
    let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
    let known = c.known_ints(1);
    if let Some(pads) = known.filter(|pads| pads.iter().all(|pad| *pad >= 0)) {
        let (before, after) = pads.split_at(axes.len().min(pads.len()));
        // An end of -0 would cut everything off.
        let ends: Vec<i64> = after.iter().map(|after| if *after > 0 { -after } else { i64::MAX }).collect();
        if pads.iter().all(|pad| *pad == 0) {
            c.give(0, dy);
            return Ok(());
        }
        let used: Vec<usize> = (0..axes.len()).filter(|at| before[*at] != 0 || after[*at] != 0).collect();
        let pick = |values: &[i64]| used.iter().map(|at| values[*at]).collect::<Vec<i64>>();
        let (starts, ends, axes) = (c.ints(&pick(before)), c.ints(&pick(&ends)), c.ints(&pick(&axes)));
        let gradient = c.op("Slice", &[dy, starts, ends, axes]);
        c.give(0, gradient);
        return Ok(());
    }
    // What was added goes, and what was cut off comes back as zeros.
    let (back, axes) = (c.neg(pads), c.ints(&axes));
    let gradient = c.emit("Pad", &[Some(dy), Some(back), None, Some(axes)], Vec::new(), 1)[0];
    c.give(0, gradient);
    Ok(())
}

/// Padding with copies of the content: the same padding of the places' numbers says of what.
fn pad_by_copies(c: &mut Reverse<'_>, dy: Var, mode: &str, axes: &[usize], rank: usize) -> RuleResult {
    let (x, pads) = (c.x(0)?, c.x(1)?);
    let known = c.known_ints(1);
    let n_axes = axes.len();
    let mut gradient = dy;
    for (at, axis) in axes.iter().enumerate() {
        if known.as_ref().is_some_and(|pads| pads.get(at) == Some(&0) && pads.get(at + n_axes) == Some(&0)) {
            continue;
        }
        let size = c.dim(x, *axis as i64);
        let count = c.squeeze(size, &[0]);
        let places = c.range(count);
        let before = c.slice(pads, 0, at as i64, at as i64 + 1);
        let after = c.slice(pads, 0, (at + n_axes) as i64, (at + n_axes) as i64 + 1);
        let both = c.concat(&[before, after], 0);
        let places = c.op_with("Pad", &[places, both], vec![text("mode", mode)]);
        gradient = add_back(c, gradient, places, size, *axis, rank)?;
    }
    c.give(0, gradient);
    Ok(())
}
