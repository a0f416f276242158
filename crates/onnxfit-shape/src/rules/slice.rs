//! Slice and Pad: sizes cut off and put on.

use crate::context::{Axes, Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, Value};
use crate::grid::{places, small_shape, strides};
use crate::registry::Entry;
use crate::rules::MICROSOFT;

pub(super) const TABLE: &[Entry] = &[
    ("", "Slice", slice),
    ("", "DynamicSlice", slice),
    ("", "Pad", pad),
    (MICROSOFT, "Pad", pad),
    ("", "CenterCropPad", center_crop_pad),
];

/// Numbers this far out mean "to the end": exporters write the largest of their integers, and tf2onnx
/// this one.
const TO_THE_END: i64 = 1_000_000_000;

fn slice(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let n = match (context.node.ints("starts"), context.ints(1), context.dim(1, 0)) {
        (Some(starts), ..) if context.n_inputs() < 2 => starts.len(),
        (_, Some(starts), _) => starts.len(),
        (_, None, Some(n)) => usize::try_from(n.as_constant()?).ok().filter(|n| *n <= shape.len())?,
        _ => return None,
    };
    let list = |name: &str, input: usize| -> Dims {
        match (context.node.ints(name), context.ints(input)) {
            (Some(numbers), _) => numbers.iter().map(|number| Some(Expr::constant(*number))).collect(),
            (None, Some(numbers)) => numbers,
            (None, None) => vec![None; n],
        }
    };
    let (starts, ends) = (list("starts", 1), list("ends", 2));
    let axes: Vec<i64> = match context.axes("axes", 3) {
        Axes::Known(axes) => axes,
        Axes::Absent => (0..i64::try_from(n).ok()?).collect(),
        Axes::Unknown => {
            context.set(0, element_type, Some(vec![None; shape.len()]));
            return None;
        }
    };
    let steps = if context.input(4).is_some() { list("steps", 4) } else { vec![Some(Expr::constant(1)); n] };
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    let mut cuts = Some(Vec::new());
    for (((axis, start), end), step) in axes.iter().zip(&starts).zip(&ends).zip(&steps) {
        let axis = axis_of(*axis, shape.len())?;
        let dim = &shape[axis];
        let step = step.as_ref().and_then(Expr::as_constant).filter(|step| *step != 0);
        dims[axis] = step.and_then(|step| sliced_dim(dim, start.as_ref()?, end.as_ref()?, step));
        // A cut of unknown size still is no bigger than what is cut.
        if dims[axis].is_none() {
            dims[axis] = Some(context.data_dependent_dim(0, axis, Some(dim.clone())));
        }
        let first = start.as_ref().zip(step).and_then(|(start, step)| first_index(dim, start, step));
        cuts = cuts.zip(first.zip(step)).map(|(mut cuts, (first, step))| {
            cuts.push((axis, first, step));
            cuts
        });
    }
    context.set(0, element_type, Some(dims));
    let value = cuts.and_then(|cuts| cut(context.input(0)?, context.output(0)?.shape.as_deref()?, &cuts));
    context.set_value(0, value);
    Some(())
}

fn is_to_the_end(at: &Expr) -> bool {
    at.as_constant().is_some_and(|at| at >= TO_THE_END)
}

/// A position counted from the front; `None` if it cannot be told which end it counts from.
fn from_front(dim: &Expr, at: &Expr) -> Option<Expr> {
    if at.as_constant().is_some_and(|at| at <= -TO_THE_END) {
        return Some(Expr::constant(-TO_THE_END));
    }
    // For an expression, sizes of at least one decide.
    match at.bounds_of_full() {
        (Some(min), _) if min >= 0 => Some(at.clone()),
        (_, Some(max)) if max < 0 => dim.add(at),
        _ => None,
    }
}

/// A position counted from the front and clamped to `[least, most]`.
fn position(dim: &Expr, at: &Expr, least: &Expr, most: &Expr) -> Option<Expr> {
    match at.as_constant() {
        Some(at) if at >= TO_THE_END => Some(most.clone()),
        Some(at) if at <= -TO_THE_END => Some(least.clone()),
        _ => from_front(dim, at)?.larger(least)?.smaller(most),
    }
}

fn sliced_dim(dim: &Expr, start: &Expr, end: &Expr, step: i64) -> Option<Expr> {
    let zero = Expr::constant(0);
    let length = if step > 0 {
        // The common cut from the front needs no clamping: min(end, dim).
        // A start past the end gives a length below zero, so it need not be clamped from above.
        let start = if is_to_the_end(start) { dim.clone() } else { from_front(dim, start)?.larger(&zero)? };
        let end = position(dim, end, &zero, dim)?;
        end.sub(&start)?.larger(&zero)?.ceil_div(&Expr::constant(step))?
    } else {
        let last = dim.plus(-1)?;
        let before = Expr::constant(-1);
        let start = if start.is(-1) { last.clone() } else { position(dim, start, &zero, &last)? };
        let end = position(dim, end, &before, &last)?;
        start.sub(&end)?.larger(&zero)?.ceil_div(&Expr::constant(step.checked_neg()?))?
    };
    Some(length)
}

fn first_index(dim: &Expr, start: &Expr, step: i64) -> Option<i64> {
    let dim = dim.as_constant()?;
    let start = start.as_constant()?;
    let start = if start < 0 { start.saturating_add(dim) } else { start };
    Some(if step > 0 { start.clamp(0, dim.max(0)) } else { start.clamp(0, (dim - 1).max(0)) })
}

fn cut(fact: &Fact, shape: &[Expr], cuts: &[(usize, i64, i64)]) -> Option<Value> {
    let value = fact.value.as_ref()?;
    if matches!(value, Value::Uniform(_)) {
        return Some(value.clone());
    }
    let from = small_shape(fact.shape.as_deref()?)?;
    let to = small_shape(shape)?;
    let strides = strides(&from);
    let elements = places(&to).map(|mut place| {
        for (axis, first, step) in cuts {
            let at = i64::try_from(place[*axis]).ok()?.checked_mul(*step)?.checked_add(*first)?;
            place[*axis] = usize::try_from(at).ok()?;
        }
        value.at(place.iter().zip(&strides).map(|(at, stride)| at * stride).sum()).cloned()
    });
    Fact::default().with_elements(elements.collect()).value
}

fn pad(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let pads: Option<Dims> = match context.node.ints("pads").or_else(|| context.node.ints("paddings")) {
        Some(pads) => Some(pads.iter().map(|pad| Some(Expr::constant(*pad))).collect()),
        None => context.ints(1),
    };
    let axes: Vec<usize> = match context.axes("axes", 3) {
        Axes::Known(axes) => axes.iter().map(|axis| axis_of(*axis, shape.len())).collect::<Option<_>>()?,
        Axes::Absent => (0..shape.len()).collect(),
        Axes::Unknown => Vec::new(),
    };
    let Some(pads) = pads.filter(|pads| pads.len() == 2 * axes.len()) else {
        context.set(0, element_type, Some(vec![None; shape.len()]));
        return None;
    };
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    for (at, axis) in axes.iter().enumerate() {
        let (before, after) = (&pads[at], &pads[at + axes.len()]);
        dims[*axis] =
            before.as_ref().zip(after.as_ref()).and_then(|(before, after)| shape[*axis].add(before)?.add(after));
    }
    context.set(0, element_type, Some(dims));
    let value = padded(context, &pads, &axes);
    context.set_value(0, value);
    Some(())
}

/// The content of a padded vector or matrix, for constant padding.
fn padded(context: &RuleContext<'_, '_>, pads: &Dims, axes: &[usize]) -> Option<Value> {
    let fact = context.input(0)?;
    let value = fact.value.as_ref()?;
    if context.node.string("mode").is_some_and(|mode| mode != "constant") || pads.is_empty() {
        return None;
    }
    let filler = match context.input(2) {
        Some(filler) => filler.scalar(),
        None => crate::scalar::Scalar::int(0).cast(fact.element_type?),
    };
    let from = small_shape(fact.shape.as_deref()?)?;
    let to = small_shape(context.output(0)?.shape.as_deref()?)?;
    let mut before = vec![0i64; from.len()];
    for (at, axis) in axes.iter().enumerate() {
        before[*axis] = pads[at].as_ref()?.as_constant()?;
    }
    let strides = strides(&from);
    let elements = places(&to).map(|place| {
        let mut position = 0;
        for (((at, before), dim), stride) in place.iter().zip(&before).zip(&from).zip(&strides) {
            match i64::try_from(*at).ok()?.checked_sub(*before).and_then(|at| usize::try_from(at).ok()) {
                Some(at) if at < *dim => position += at * stride,
                _ => return filler.clone(),
            }
        }
        value.at(position).cloned()
    });
    Fact::default().with_elements(elements.collect()).value
}

fn center_crop_pad(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let axes: Vec<usize> = match context.node.ints("axes") {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, shape.len())).collect::<Option<_>>()?,
        None => (0..shape.len()).collect(),
    };
    let target = context.ints(1).unwrap_or_else(|| vec![None; axes.len()]);
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    for (axis, dim) in axes.iter().zip(target) {
        dims[*axis] = dim;
    }
    context.set(0, element_type, Some(dims));
    Some(())
}
