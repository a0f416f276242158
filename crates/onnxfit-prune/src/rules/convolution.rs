//! Convolutions: input channels go with the kernel's second axis, output channels with its first,
//! groups with both.

use onnxfit_graph::{AttributeValue, ValueId};

use crate::context::Context;
use crate::elements::Axis;
use crate::mend::Mender;
use crate::registry::Entry;

pub(crate) const TABLE: &[Entry] = &[
    Entry { domain: "", op_types: &["Conv"], rule: convolution, mend: Some(mend_groups) },
    Entry { domain: "", op_types: &["ConvTranspose"], rule: transposed, mend: Some(mend_groups) },
];

/// Where a kernel's axes are: those of the channels that come in and that go out.
struct Kernel {
    input: Axis,
    output: Axis,
}

fn convolution(context: &mut Context<'_, '_>) -> Option<()> {
    let weight = context.node.input(1)?;
    let kernel = Kernel { input: Axis { value: weight, axis: 1 }, output: Axis { value: weight, axis: 0 } };
    couple(context, &kernel, false)
}

fn transposed(context: &mut Context<'_, '_>) -> Option<()> {
    let weight = context.node.input(1)?;
    let kernel = Kernel { input: Axis { value: weight, axis: 0 }, output: Axis { value: weight, axis: 1 } };
    couple(context, &kernel, true)
}

fn couple(context: &mut Context<'_, '_>, kernel: &Kernel, is_transposed: bool) -> Option<()> {
    let (input, output) = (context.node.input(0)?, context.node.output(0)?);
    let weight = kernel.input.value;
    for value in [input, output] {
        pin_places(context, value);
    }
    for axis in 2..context.rank(weight)? {
        context.pin(Axis { value: weight, axis });
    }
    context.tie(Axis { value: input, axis: 0 }, Axis { value: output, axis: 0 });
    let channels = Axis { value: input, axis: 1 };
    let features = Axis { value: output, axis: 1 };
    let n_groups = usize::try_from(context.node.int("group").unwrap_or(1)).ok().filter(|n| *n > 0)?;
    if let Some(bias) = context.node.input(2) {
        context.tie(Axis { value: bias, axis: 0 }, features);
    }
    if n_groups == 1 {
        if context.size(channels) != Some(1) {
            context.tie(channels, kernel.input);
        }
        if context.size(features) != Some(1) {
            context.tie(kernel.output, features);
        }
        return Some(());
    }
    let size = |axis: Axis| usize::try_from(context.size(axis)?).ok();
    let (n_in, n_out) = (size(channels)?, size(features)?);
    let (per_in, per_out) = (n_in / n_groups, n_out / n_groups);
    if per_in * n_groups != n_in || per_out * n_groups != n_out || per_in == 0 || per_out == 0 {
        return None;
    }
    // The axis of the kernel that counts channels of all groups, and the one that counts those of
    // one group.
    let (whole, part) = if is_transposed { (kernel.input, kernel.output) } else { (kernel.output, kernel.input) };
    let (all, one_group) = if is_transposed { (channels, features) } else { (features, channels) };
    let per_part = if is_transposed { per_out } else { per_in };
    context.tie(whole, all);
    let per_whole = if is_transposed { per_in } else { per_out };
    if go_whole(n_groups, per_in, per_out) {
        // Many small groups: a group goes as a whole, with all that it reads and makes.
        context.tie_within(all, |index| index / per_whole);
        context.tie_by(all, one_group, |index| index / per_part * per_whole);
        context.pin(part);
    } else {
        // Few large groups: all groups lose the channels of the same place.
        context.tie_within(all, |index| index % per_whole);
        if per_part > 1 {
            context.tie_by(part, one_group, |index| index % per_part);
        } else {
            context.pin(one_group);
        }
    }
    Some(())
}

/// Height, width and the like stay.
pub(crate) fn pin_places(context: &mut Context<'_, '_>, value: ValueId) {
    for axis in 2..context.sizes.rank(value) {
        context.pin(Axis { value, axis });
    }
}

/// Whether groups are many and small, so that a group goes as a whole; else all groups lose the
/// channels of the same place.
fn go_whole(n_groups: usize, per_in: usize, per_out: usize) -> bool {
    n_groups >= per_in.max(per_out)
}

/// Groups that went as a whole are fewer now.
fn mend_groups(context: &Context<'_, '_>, mender: &mut Mender<'_>) -> Option<()> {
    let n_groups = usize::try_from(context.node.int("group").unwrap_or(1)).ok()?;
    let channels = Axis { value: context.node.input(0)?, axis: 1 };
    let features = Axis { value: context.node.output(0)?, axis: 1 };
    let Some(left) = mender.kept.size(channels) else { return Some(()) };
    let per_group = |axis: Axis| usize::try_from(context.size(axis)?).ok()?.checked_div(n_groups);
    let (per_in, per_out) = (per_group(channels)?, per_group(features)?);
    if n_groups > 1 && go_whole(n_groups, per_in, per_out) {
        mender.patch.set_attribute(context.id, "group", AttributeValue::Int(left / i64::try_from(per_in).ok()?));
    }
    Some(())
}
