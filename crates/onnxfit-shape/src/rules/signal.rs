//! Signal processing: Fourier transforms and window functions.

use onnxfit_onnx::DataType;

use crate::context::{Axes, Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;

pub(super) const TABLE: &[Entry] = &[
    ("", "DFT", fourier),
    ("", "STFT", short_time),
    ("", "MelWeightMatrix", mel_weights),
    ("", "BlackmanWindow", window),
    ("", "HannWindow", window),
    ("", "HammingWindow", window),
    (MICROSOFT, "Rfft", real_fourier),
    (MICROSOFT, "Irfft", inverse_real_fourier),
];

fn fourier(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    context.set(0, element_type, Some(vec![None; shape.len()]));
    // The axis became an input in operator set 20, with another default.
    let axis = match (context.opset >= 20, context.input(2)) {
        (true, Some(_)) => match context.axes("", 2) {
            Axes::Known(axes) => *axes.first()?,
            _ => return None,
        },
        (true, None) => -2,
        (false, _) => context.int("axis", 1),
    };
    let axis = axis_of(axis, shape.len())?;
    let is_onesided = context.flag("onesided");
    let is_inverse = context.flag("inverse");
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    let length = match context.input(1) {
        Some(_) => context.int_input(1),
        // A one-sided inverse starts from half the spectrum.
        None if is_onesided && is_inverse => shape[axis].plus(-1).and_then(|half| half.scale(2)),
        None => Some(shape[axis].clone()),
    };
    dims[axis] = if is_onesided && !is_inverse { length.and_then(|length| one_side(&length)) } else { length };
    let n_parts = if is_onesided && is_inverse { 1 } else { 2 };
    *dims.last_mut()? = Some(Expr::constant(n_parts));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn one_side(length: &Expr) -> Option<Expr> {
    length.floor_div(&Expr::constant(2))?.plus(1)
}

fn short_time(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, Some(vec![context.dim(0, 0), None, None, Some(Expr::constant(2))]));
    let frame = match context.input(3) {
        Some(_) => context.int_input(3),
        None => context.dim(2, 0),
    };
    let n_frames = context
        .dim(0, 1)
        .zip(frame.as_ref())
        .zip(context.int_input(1))
        .and_then(|((length, frame), step)| length.sub(frame)?.floor_div(&step)?.plus(1));
    let is_onesided = context.int("onesided", 1) != 0;
    let n_bins = if is_onesided { frame.and_then(|frame| one_side(&frame)) } else { frame };
    context.set(0, element_type, Some(vec![context.dim(0, 0), n_frames, n_bins, Some(Expr::constant(2))]));
    Some(())
}

fn mel_weights(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("output_datatype").or(Some(DataType::Float));
    let n_bins = context.int_input(1).and_then(|length| one_side(&length));
    context.set(0, element_type, Some(vec![n_bins, context.int_input(0)]));
    Some(())
}

fn window(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("output_datatype").or(Some(DataType::Float));
    context.set(0, element_type, Some(vec![context.int_input(0)]));
    Some(())
}

fn real_fourier(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut dims: Dims = context.shape(0)?.iter().cloned().map(Some).collect();
    let last = dims.last_mut()?;
    *last = last.as_ref().and_then(one_side);
    dims.push(Some(Expr::constant(2)));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn inverse_real_fourier(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let mut dims: Dims = shape.get(..shape.len().checked_sub(1)?)?.iter().cloned().map(Some).collect();
    let last = dims.last_mut()?;
    *last = last.as_ref().and_then(|half| half.plus(-1)?.scale(2));
    context.set(0, element_type, Some(dims));
    Some(())
}
