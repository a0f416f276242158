//! Pools, resizing and padding: channels pass through, places stay.

use super::convolution::pin_places;
use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry {
        domain: "",
        op_types: &["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LpPool", "MaxPool"],
        rule: pool,
        mend: None,
    },
    Entry { domain: "", op_types: &["Resize", "Upsample"], rule: resize, mend: Some(mend_sizes) },
    Entry { domain: "", op_types: &["Pad"], rule: pad, mend: None },
];

fn pool(context: &mut Context<'_, '_>) -> Option<()> {
    if context.node.outputs.iter().skip(1).flatten().next().is_some() {
        return None;
    }
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    pin_places(context, input);
    pin_places(context, output);
    context.rank(output)?;
    for axis in 0..2 {
        context.tie(Axis { value: input, axis }, Axis { value: output, axis });
    }
    Some(())
}

fn resize(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    if context.node.attribute("axes").is_some()
        || context.node.string("coordinate_transformation_mode") == Some("tf_crop_and_resize")
    {
        return None;
    }
    let same = |axis: usize| Some(context.shape(input)?.get(axis)? == context.shape(output)?.get(axis)?);
    let kept: Vec<bool> = (0..context.rank(output)?).map(|axis| same(axis).unwrap_or(false)).collect();
    for (axis, is_kept) in kept.into_iter().enumerate() {
        let (own, made) = (Axis { value: input, axis }, Axis { value: output, axis });
        if is_kept && axis < 2 {
            context.tie(own, made);
        } else {
            context.pin(own);
            context.pin(made);
        }
    }
    Some(())
}

fn pad(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let rank = context.rank(input)?;
    if context.node.input(3).is_some() {
        return None;
    }
    let pads: Vec<Option<i64>> = match context.node.ints("pads") {
        Some(pads) => pads.iter().copied().map(Some).collect(),
        None => {
            let known = context.input_fact(1)?.ints()?;
            known.into_iter().map(|pad| pad.and_then(|pad| pad.as_constant())).collect()
        }
    };
    if pads.len() != 2 * rank {
        return None;
    }
    for axis in 0..rank {
        let (own, made) = (Axis { value: input, axis }, Axis { value: output, axis });
        if pads[axis] == Some(0) && pads[axis + rank] == Some(0) {
            context.tie(own, made);
        } else {
            context.pin(own);
            context.pin(made);
        }
    }
    Some(())
}

/// Sizes of the result, where they are given.
fn mend_sizes(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    match context.node.input(3) {
        Some(_) if context.node.is("Resize") => mender.retarget(context, 3, None, false),
        _ => Some(()),
    }
}
