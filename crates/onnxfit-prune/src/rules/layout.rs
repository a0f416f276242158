//! Operators that move elements: axes in another order, channels into places and back, repetition.

use super::normalization::factor;
use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: &["Transpose"], rule: transpose, mend: None },
    Entry { domain: "", op_types: &["Expand", "Tile"], rule: repeat, mend: Some(mend_expansion) },
    Entry { domain: "", op_types: &["DepthToSpace"], rule: depth_to_space, mend: None },
    Entry { domain: "", op_types: &["SpaceToDepth"], rule: space_to_depth, mend: None },
    Entry { domain: "", op_types: &["Shape"], rule: shape, mend: Some(mend_sizes) },
];

fn transpose(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let rank = context.rank(input)?;
    let order: Vec<usize> = match context.node.ints("perm") {
        Some(order) => order.iter().map(|axis| usize::try_from(*axis).ok()).collect::<Option<_>>()?,
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank || order.iter().any(|axis| *axis >= rank) {
        return None;
    }
    for (to, from) in order.into_iter().enumerate() {
        context.tie(Axis { value: input, axis: from }, Axis { value: output, axis: to });
    }
    Some(())
}

/// An axis that is not repeated passes through; one that is stays.
fn repeat(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let (before, after) = (context.shape(input)?.to_vec(), context.shape(output)?.to_vec());
    let shift = after.len().checked_sub(before.len())?;
    (0..shift).for_each(|axis| context.pin(Axis { value: output, axis }));
    for (axis, dim) in before.iter().enumerate() {
        let (own, made) = (Axis { value: input, axis }, Axis { value: output, axis: axis + shift });
        if *dim == after[axis + shift] {
            context.tie(own, made);
        } else {
            context.pin(own);
            context.pin(made);
        }
    }
    Some(())
}

fn depth_to_space(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    blocks(context, input, output, context.node.string("mode") == Some("CRD"), false)
}

fn space_to_depth(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    // Only the depth-first order exists.
    blocks(context, input, output, false, true)
}

/// Channels of the two sides, of which one has `blocksize²` times as many.
fn blocks(
    context: &mut Context<'_, '_>,
    input: onnxfit_graph::ValueId,
    output: onnxfit_graph::ValueId,
    is_channel_first: bool,
    grows: bool,
) -> Option<()> {
    let block = usize::try_from(context.node.int("blocksize")?).ok().filter(|size| *size > 0)?;
    let few = Axis { value: if grows { input } else { output }, axis: 1 };
    let n_few = usize::try_from(context.size(few)?).ok()?;
    let stride = if is_channel_first { block.checked_mul(block)? } else { 1 };
    let (own, made) = if grows { ((1, 1), (1, stride)) } else { ((1, stride), (1, 1)) };
    context.tie(Axis { value: input, axis: 0 }, Axis { value: output, axis: 0 });
    for value in [input, output] {
        super::convolution::pin_places(context, value);
    }
    let axes = [Axis { value: input, axis: 1 }, Axis { value: output, axis: 1 }];
    context.tie_factors(input, output, &axes, &[factor(n_few, own, made)]);
    Some(())
}

/// What reads a size is mended after the cut.
fn shape(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let sizes = context.graph.value(output);
    // Sizes that leave the graph, or enter a body, cannot be mended.
    if sizes.is_output || sizes.uses.iter().any(|one| one.input.is_none()) {
        context.pin_all(input);
    }
    context.allow(input);
    Some(())
}

fn mend_expansion(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    // `Tile` names repetitions, not sizes.
    if context.node.is("Expand") { mender.retarget_expansion(context) } else { Some(()) }
}

/// Whoever read a size that is smaller now reads the old one: the arithmetic stays what it was, and
/// the shapes that it ends in are named anew.
fn mend_sizes(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    if !mender.kept.touches(input) {
        return Some(());
    }
    let rank = i64::try_from(context.rank(input)?).ok()?;
    let clamp = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let first = clamp(context.node.int("start").unwrap_or(0));
    let last = clamp(context.node.int("end").unwrap_or(rank)).max(first);
    let axes: Vec<Axis> = (first..last).map(|axis| Axis { value: input, axis }).collect();
    let old: Vec<Option<i64>> = axes.iter().map(|axis| context.size(*axis)).collect();
    let changed: Vec<Option<i64>> =
        axes.iter().zip(&old).map(|(axis, old)| mender.kept.size(*axis).and(*old)).collect();
    if changed.iter().all(Option::is_none) {
        return Some(());
    }
    let name = format!("{}/before pruning", context.label());
    let uses = &context.graph.value(output).uses;
    let mut others = Vec::new();
    for one in uses {
        let reader = context.graph.node(one.node);
        let picked = (reader.is("Gather") && one.input == Some(0)).then(|| picks(context, one.node)).flatten();
        let Some((picked, dims)) = picked else {
            others.push(one);
            continue;
        };
        if picked.iter().all(|at| changed.get(*at).copied().flatten().is_none()) {
            continue;
        }
        let numbers: Option<Vec<i64>> = picked.iter().map(|at| old.get(*at).copied().flatten()).collect();
        match (numbers, reader.output(0)) {
            (Some(numbers), Some(made)) if !context.graph.value(made).is_output => {
                let fixed = mender.integers(&name, None, &dims, &numbers);
                mender.patch.replace_uses(made, fixed);
            }
            _ => others.push(one),
        }
    }
    if others.is_empty() {
        return Some(());
    }
    let all: Option<Vec<i64>> = old.iter().copied().collect();
    let fixed = match all {
        Some(numbers) => mender.integers(&name, None, &[numbers.len() as i64], &numbers),
        None => mender.overwrite_after(&name, context.id, output, &changed),
    };
    for one in others {
        // A body that captures the sizes was kept from being cut by the rule.
        mender.patch.set_input(one.node, one.input?, Some(fixed));
    }
    Some(())
}

/// Which elements a `Gather` of a vector picks, and the shape of what it gives.
fn picks(context: &Context<'_, '_>, id: onnxfit_graph::NodeId) -> Option<(Vec<usize>, Vec<i64>)> {
    let reader = context.graph.node(id);
    let indices = context.facts.get(reader.input(1)?)?;
    let n = context.facts.get(reader.input(0)?)?.n_elements()?.as_constant()?;
    let picked: Vec<usize> = indices
        .known_ints()?
        .into_iter()
        .map(|at| usize::try_from(if at < 0 { at + n } else { at }).ok())
        .collect::<Option<_>>()?;
    let dims = indices.concrete()?.into_iter().map(|dim| i64::try_from(dim).ok()).collect::<Option<_>>()?;
    Some((picked, dims))
}
