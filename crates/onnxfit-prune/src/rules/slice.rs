//! `Slice` and `Split`: a part of an axis is a range of it.

use std::collections::BTreeMap;

use onnxfit_graph::AttributeValue;

use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: &["Slice"], rule: slice, mend: Some(mend_slice) },
    Entry { domain: "", op_types: &["Split"], rule: split, mend: Some(mend_split) },
];

fn slice(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let rank = context.rank(input)?;
    let ranges = ranges(context)?;
    for axis in 0..rank {
        let (own, made) = (Axis { value: input, axis }, Axis { value: output, axis });
        match ranges.get(&axis) {
            None => context.tie(own, made),
            Some(range) => match range.clone().and_then(|range| within(context, own, made, &range)) {
                Some((start, n)) => context.tie_range(own, start, made, 0, n),
                None => {
                    context.pin(own);
                    context.pin(made);
                }
            },
        }
    }
    Some(())
}

/// From, to, and step of one axis, as the node gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Which of the listed axes it is.
    pub(crate) position: usize,
    start: i64,
    end: i64,
    step: i64,
}

/// The axes that a `Slice` cuts; `None` inside for one whose numbers are not known.
pub(crate) fn ranges(context: &Context<'_, '_>) -> Option<BTreeMap<usize, Option<Range>>> {
    let input = context.node.input(0)?;
    let listed = |name: &str, slot: usize| -> Option<Vec<Option<i64>>> {
        if let Some(numbers) = context.node.ints(name) {
            return Some(numbers.iter().copied().map(Some).collect());
        }
        let fact = context.input_fact(slot)?;
        match fact.ints() {
            Some(numbers) => Some(numbers.into_iter().map(|number| number.and_then(|n| n.as_constant())).collect()),
            None => Some(vec![None; usize::try_from(fact.n_elements()?.as_constant()?).ok()?]),
        }
    };
    let starts = listed("starts", 1)?;
    let ends = listed("ends", 2)?;
    let axes = match context.node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None if context.node.input(3).is_some() => context.input_ints(3)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match context.node.input(4) {
        Some(_) => listed("steps", 4)?,
        None => vec![Some(1); starts.len()],
    };
    let mut found = BTreeMap::new();
    for (position, axis) in axes.iter().enumerate() {
        let axis = context.axis_of(input, *axis)?.axis;
        let number = |list: &[Option<i64>]| list.get(position).copied().flatten();
        let range = match (number(&starts), number(&ends), number(&steps)) {
            (Some(start), Some(end), Some(step)) => Some(Range { position, start, end, step }),
            _ => None,
        };
        found.insert(axis, range);
    }
    Some(found)
}

/// Where a range begins and how long it is; `None` unless it is a run of indices.
pub(crate) fn within(context: &Context<'_, '_>, own: Axis, made: Axis, range: &Range) -> Option<(usize, usize)> {
    let size = context.size(own)?;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
    let (start, end) = (clamp(range.start), clamp(range.end));
    let is_run = range.step == 1 && context.size(made) == Some(end - start);
    if is_run { Some((usize::try_from(start).ok()?, usize::try_from(end - start).ok()?)) } else { None }
}

fn split(context: &mut Context<'_, '_>) -> Option<()> {
    let input = context.node.input(0)?;
    let along = context.axis_of(input, context.node.int("axis").unwrap_or(0))?;
    let outputs: Vec<_> = context.node.outputs.clone();
    let mut start = Some(0);
    for output in outputs {
        // Without its size nobody knows where the next one begins.
        let Some(output) = output else {
            context.pin(along);
            start = None;
            continue;
        };
        for axis in (0..context.rank(input)?).filter(|axis| *axis != along.axis) {
            context.tie(Axis { value: input, axis }, Axis { value: output, axis });
        }
        let part = Axis { value: output, axis: along.axis };
        let size = context.size(part).and_then(|size| usize::try_from(size).ok());
        match (start, size) {
            (Some(from), Some(size)) => context.tie_range(along, from, part, 0, size),
            _ => {
                context.pin(along);
                context.pin(part);
            }
        }
        start = start.zip(size).map(|(start, size)| start + size);
    }
    Some(())
}

/// The ranges of axes that are cut, counted in what is left.
fn mend_slice(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    let input = context.node.input(0)?;
    let output = context.node.output(0)?;
    let mut changes = Vec::new();
    for (axis, range) in ranges(context)? {
        let (own, made) = (Axis { value: input, axis }, Axis { value: output, axis });
        let Some(kept) = mender.kept.indices(own) else { continue };
        let (from, n) = within(context, own, made, &range.clone()?)?;
        let start = kept.partition_point(|index| *index < from);
        let end = kept.partition_point(|index| *index < from + n);
        changes.push((range?.position, start as i64, end as i64));
    }
    if changes.is_empty() {
        return Some(());
    }
    for (slot, name) in [(1, "starts"), (2, "ends")] {
        let pick = |change: &(usize, i64, i64)| (change.0, if slot == 1 { change.1 } else { change.2 });
        if let Some(old) = context.node.ints(name) {
            let mut numbers = old.to_vec();
            for (position, number) in changes.iter().map(pick) {
                *numbers.get_mut(position)? = number;
            }
            mender.patch.set_attribute(context.id, name, AttributeValue::Ints(numbers));
            continue;
        }
        let fact = context.input_fact(slot)?;
        let n = usize::try_from(fact.n_elements()?.as_constant()?).ok()?;
        let mut new: Vec<Option<i64>> = vec![None; n];
        for (position, number) in changes.iter().map(pick) {
            *new.get_mut(position)? = Some(number);
        }
        let label = format!("{}/pruned {name}", context.label());
        let known = fact.known_ints();
        let value = match known {
            Some(known) => {
                let numbers: Vec<i64> = known.iter().zip(&new).map(|(old, new)| new.unwrap_or(*old)).collect();
                mender.integers(&label, fact.element_type, &[n as i64], &numbers)
            }
            None => mender.overwrite(&label, context.id, context.node.input(slot)?, &new),
        };
        mender.patch.set_input(context.id, slot, Some(value));
    }
    Some(())
}

/// The sizes of the parts.
fn mend_split(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    let input = context.node.input(0)?;
    let along = context.axis_of(input, context.node.int("axis").unwrap_or(0))?;
    if mender.kept.indices(along).is_none() {
        return Some(());
    }
    let mut sizes = Vec::new();
    for output in &context.node.outputs {
        sizes.push(mender.new_size(context, Axis { value: (*output)?, axis: along.axis })?);
    }
    if context.opset < 13 {
        mender.patch.set_attribute(context.id, "split", AttributeValue::Ints(sizes));
        return Some(());
    }
    let label = format!("{}/pruned", context.label());
    let value = mender.integers(&label, None, &[sizes.len() as i64], &sizes);
    mender.patch.set_input(context.id, 1, Some(value));
    if context.node.attribute("num_outputs").is_some() {
        mender.patch.remove_attribute(context.id, "num_outputs");
    }
    Some(())
}
