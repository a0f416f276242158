//! Operators that join tensors or take them apart along an axis, and that repeat them.

use crate::context::{Axes, Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, Value};
use crate::grid::{broadcast_positions, count, places, positions, small_shape, strides};
use crate::registry::Entry;
use crate::scalar::Scalar;

pub(super) const TABLE: &[Entry] =
    &[("", "Concat", concat), ("", "Split", split), ("", "Expand", expand), ("", "Tile", tile)];

fn concat(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let n_inputs = context.n_inputs();
    let element_type = (0..n_inputs).find_map(|index| context.element_type(index));
    context.set(0, element_type, None);
    let rank = (0..n_inputs).find_map(|index| context.rank(index))?;
    let axis = axis_of(context.int("axis", 1), rank)?;
    let facts: Vec<&Fact> = (0..n_inputs).filter_map(|index| context.input(index)).collect();
    let dims = joined(context, &facts, axis)?;
    context.set(0, element_type, Some(dims));
    let value = joined_value(&facts, axis);
    context.set_value(0, value);
    Some(())
}

/// The shape of tensors put after one another along an axis.
pub(super) fn joined(context: &mut RuleContext<'_, '_>, facts: &[&Fact], axis: usize) -> Option<Dims> {
    let rank = facts.iter().find_map(|fact| fact.rank())?;
    let mut dims: Dims = vec![None; rank];
    let mut total = Some(Expr::constant(0));
    for fact in facts {
        let Some(shape) = fact.shape.as_deref().filter(|shape| shape.len() == rank) else {
            total = None;
            continue;
        };
        total = total.and_then(|total| total.add(&shape[axis]));
        for (at, dim) in shape.iter().enumerate().filter(|(at, _)| *at != axis) {
            dims[at] = Some(match &dims[at] {
                Some(so_far) => context.same_dim(&so_far.clone(), dim),
                None => dim.clone(),
            });
        }
    }
    dims[axis] = total;
    Some(dims)
}

fn joined_value(facts: &[&Fact], axis: usize) -> Option<Value> {
    let shapes: Vec<Vec<usize>> =
        facts.iter().map(|fact| small_shape(fact.shape.as_deref()?)).collect::<Option<Vec<_>>>()?;
    let is_usable = shapes.iter().all(|shape| shape.len() > axis) && facts.iter().any(|fact| fact.value.is_some());
    if !is_usable {
        return None;
    }
    let n_total: usize = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
    if n_total > crate::fact::N_ELEMENTS_MAX {
        return None;
    }
    if n_total == 0 {
        return Fact::default().with_elements(Vec::new()).value;
    }
    let n_outer = count(shapes.first()?.get(..axis)?)?;
    let mut elements = Vec::with_capacity(n_total);
    for outer in 0..n_outer {
        for (fact, shape) in facts.iter().zip(&shapes) {
            let n_inner = count(&shape[axis..])?;
            let scalar = |at| fact.value.as_ref().and_then(|value| value.at(outer * n_inner + at)).cloned();
            elements.extend((0..n_inner).map(scalar));
        }
    }
    Fact::default().with_elements(elements).value
}

fn split(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    let n_outputs = context.n_outputs();
    for output in 0..n_outputs {
        context.set(output, element_type, None);
    }
    let shape = context.shape(0)?;
    let axis = axis_of(context.int("axis", 0), shape.len())?;
    let lengths: Dims = match context.axes("split", 1) {
        Axes::Known(lengths) => lengths.iter().map(|length| Some(Expr::constant(*length))).collect(),
        Axes::Unknown => context.ints(1).unwrap_or_else(|| vec![None; n_outputs]),
        Axes::Absent => even_split(&shape[axis], n_outputs),
    };
    let mut start = Some(0usize);
    for output in 0..n_outputs {
        let mut dims: Dims = shape.iter().cloned().map(Some).collect();
        let length = lengths.get(output).cloned().flatten();
        dims[axis] = length.clone();
        context.set(output, element_type, Some(dims));
        let length = length.and_then(|length| usize::try_from(length.as_constant()?).ok());
        if let (Some(from), Some(length)) = (start, length) {
            let value = part(context.input(0)?, axis, from, length);
            context.set_value(output, value);
        }
        start = start.zip(length).and_then(|(start, length)| start.checked_add(length));
    }
    Some(())
}

/// Equal parts, the last one smaller if need be.
fn even_split(dim: &Expr, n_parts: usize) -> Dims {
    let Some(n) = i64::try_from(n_parts).ok().filter(|n| *n > 0) else { return Dims::new() };
    let length = dim.ceil_div(&Expr::constant(n));
    let last = length.as_ref().and_then(|length| dim.sub(&length.scale(n - 1)?));
    let mut parts = vec![length; n_parts - 1];
    parts.push(last);
    parts
}

fn part(fact: &Fact, axis: usize, start: usize, length: usize) -> Option<Value> {
    let value = fact.value.as_ref()?;
    if matches!(value, Value::Uniform(_)) {
        return Some(value.clone());
    }
    let shape = small_shape(fact.shape.as_deref()?)?;
    let strides = strides(&shape);
    if start.checked_add(length)? > shape[axis] {
        return None;
    }
    let mut to = shape.clone();
    to[axis] = length;
    let elements = positions(&to, &strides, start.saturating_mul(strides[axis])).map(|at| value.at(at).cloned());
    Fact::default().with_elements(elements.collect()).value
}

fn expand(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let target = match context.ints(1) {
        Some(target) => target,
        None => {
            let rank = usize::try_from(context.dim(1, 0)?.as_constant()?).ok().filter(|rank| *rank <= 64)?;
            vec![None; rank]
        }
    };
    let rank = shape.len().max(target.len());
    let mut dims = Dims::with_capacity(rank);
    for at in 0..rank {
        let own = at.checked_sub(rank - shape.len()).map(|at| &shape[at]);
        let wanted = at.checked_sub(rank - target.len()).map(|at| &target[at]);
        dims.push(match (own, wanted) {
            (Some(own), None) => Some(own.clone()),
            (None, Some(wanted)) => wanted.clone(),
            (Some(own), Some(Some(wanted))) => context.broadcast_dim(own, wanted),
            // An unknown target is this size or one, unless this size is one.
            (Some(own), Some(None)) if own.as_constant().is_some_and(|own| own > 1) => Some(own.clone()),
            _ => None,
        });
    }
    context.set(0, element_type, Some(dims));
    let value = expanded(context.input(0)?, context.output(0)?.shape.as_deref()?);
    context.set_value(0, value);
    Some(())
}

fn expanded(fact: &Fact, shape: &[Expr]) -> Option<Value> {
    let value = fact.value.as_ref()?;
    if let Some(scalar) = fact.scalar() {
        return Some(Value::Uniform(scalar));
    }
    let from = small_shape(fact.shape.as_deref()?)?;
    let to = small_shape(shape)?;
    let elements = broadcast_positions(&to, &from).map(|at| value.at(at).cloned());
    Fact::default().with_elements(elements.collect()).value
}

fn tile(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let repeats = context.ints(1).unwrap_or_else(|| vec![None; shape.len()]);
    if repeats.len() != shape.len() {
        return None;
    }
    let dims: Dims = shape.iter().zip(&repeats).map(|(dim, times)| dim.mul(times.as_ref()?)).collect();
    context.set(0, element_type, Some(dims));
    let value = tiled(context.input(0)?, context.output(0)?.shape.as_deref()?);
    context.set_value(0, value);
    Some(())
}

fn tiled(fact: &Fact, shape: &[Expr]) -> Option<Value> {
    let value = fact.value.as_ref()?;
    if let Some(scalar) = fact.scalar() {
        return Some(Value::Uniform(scalar));
    }
    let from = small_shape(fact.shape.as_deref()?)?;
    let to = small_shape(shape)?;
    let strides = strides(&from);
    let elements = places(&to).map(|place| -> Option<Scalar> {
        let position =
            place.iter().zip(&from).zip(&strides).map(|((at, dim), stride)| at % (*dim).max(1) * stride).sum();
        value.at(position).cloned()
    });
    Fact::default().with_elements(elements.collect()).value
}
