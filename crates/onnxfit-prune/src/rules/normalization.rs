//! Normalizations: an axis that is averaged over stays, for a mean of fewer numbers is another
//! mean; channels that are normalized one by one go together.

use onnxfit_graph::AttributeValue;

use super::elementwise::tie_unless_single;
use crate::blocks::{Factor, Side};
use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: &["BatchNormalization", "InstanceNormalization"], rule: by_channel, mend: None },
    Entry { domain: "", op_types: &["LayerNormalization", "RMSNormalization"], rule: by_row, mend: None },
    Entry { domain: "", op_types: &["SimplifiedLayerNormalization"], rule: by_row, mend: None },
    Entry { domain: "", op_types: &["GroupNormalization"], rule: by_group, mend: Some(mend_number_of_groups) },
    Entry { domain: "", op_types: &["Softmax", "LogSoftmax", "Hardmax"], rule: softmax, mend: None },
    Entry { domain: "", op_types: &["LpNormalization", "CumSum"], rule: along_one, mend: None },
    Entry { domain: "", op_types: &["LRN", "MeanVarianceNormalization"], rule: all_but_batch, mend: None },
];

fn by_channel(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    if context.node.outputs.iter().skip(1).flatten().next().is_some() {
        return None;
    }
    let rank = context.rank(input)?;
    for axis in 0..rank {
        context.tie(Axis { value: input, axis }, Axis { value: output, axis });
    }
    // Averages over places: `InstanceNormalization` on the run, `BatchNormalization` in training.
    for axis in 2..rank {
        context.pin(Axis { value: input, axis });
    }
    if context.node.op_type == "BatchNormalization" && context.node.int("training_mode").unwrap_or(0) != 0 {
        context.pin(Axis { value: input, axis: 0 });
    }
    let parameters: Vec<_> = context.node.inputs.iter().skip(1).copied().flatten().collect();
    for parameter in parameters {
        context.tie(Axis { value: parameter, axis: 0 }, Axis { value: output, axis: 1 });
    }
    Some(())
}

fn by_row(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    if context.node.outputs.iter().skip(1).flatten().next().is_some() {
        return None;
    }
    let first = context.axis_of(input, context.node.int("axis").unwrap_or(-1))?.axis;
    for axis in 0..context.rank(input)? {
        context.tie(Axis { value: input, axis }, Axis { value: output, axis });
        if axis >= first {
            context.pin(Axis { value: input, axis });
        }
    }
    let parameters: Vec<_> = context.node.inputs.iter().skip(1).copied().flatten().collect();
    parameters.into_iter().for_each(|parameter| context.pin_all(parameter));
    Some(())
}

/// Whole groups of channels go together.
fn by_group(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    for axis in 0..context.rank(input)? {
        context.tie(Axis { value: input, axis }, Axis { value: output, axis });
        if axis > 1 {
            context.pin(Axis { value: input, axis });
        }
    }
    let channels = Axis { value: input, axis: 1 };
    let n_groups = usize::try_from(context.node.int("num_groups")?).ok().filter(|n| *n > 0)?;
    let per_group = usize::try_from(context.size(channels)?).ok()? / n_groups;
    context.tie_within(channels, |index| index / per_group.max(1));
    for parameter in [context.node.input(1)?, context.node.input(2)?] {
        // One number per group until opset 20, one per channel since.
        let own = Axis { value: parameter, axis: 0 };
        if context.size(own) == context.size(channels) {
            context.tie(own, channels);
        } else {
            context.tie_by(own, channels, |index| index / per_group.max(1));
        }
    }
    Some(())
}

fn softmax(context: &mut Context<'_, '_>) -> Option<()> {
    let is_flattened = context.opset < 13;
    let default = if is_flattened { 1 } else { -1 };
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let along = context.axis_of(input, context.node.int("axis").unwrap_or(default))?.axis;
    for axis in 0..context.rank(input)? {
        context.tie(Axis { value: input, axis }, Axis { value: output, axis });
        if axis == along || (is_flattened && axis > along) {
            context.pin(Axis { value: input, axis });
        }
    }
    Some(())
}

fn along_one(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let axis = match context.node.op_type.as_str() {
        "CumSum" => *context.input_ints(1)?.first()?,
        _ => context.node.int("axis").unwrap_or(-1),
    };
    let along = context.axis_of(input, axis)?;
    for axis in 0..context.rank(input)? {
        tie_unless_single(context, Axis { value: input, axis }, Axis { value: output, axis });
    }
    context.pin(along);
    Some(())
}

fn all_but_batch(context: &mut Context<'_, '_>) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    context.tie(Axis { value: input, axis: 0 }, Axis { value: output, axis: 0 });
    for axis in 1..context.rank(input)? {
        context.pin(Axis { value: input, axis });
        context.pin(Axis { value: output, axis });
    }
    Some(())
}

/// One side of a factor that is a whole axis or a part of it.
pub(crate) fn factor(size: usize, input: (usize, usize), output: (usize, usize)) -> Factor {
    let side = |(axis, stride)| Some(Side { axis, stride });
    Factor { size, input: side(input), output: side(output) }
}

/// Groups that went as a whole are fewer now.
fn mend_number_of_groups(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    let channels = Axis { value: context.node.input(0)?, axis: 1 };
    let Some(left) = mender.kept.size(channels) else { return Some(()) };
    let per_group = context.size(channels)? / context.node.int("num_groups")?;
    mender.patch.set_attribute(context.id, "num_groups", AttributeValue::Int(left / per_group.max(1)));
    Some(())
}
