//! Operators that put elements into a copy of a tensor.

use crate::context::{RuleContext, axis_of};
use crate::fact::{Fact, Value};
use crate::grid::{count, places, small_shape, strides};
use crate::registry::Entry;
use crate::rules::elementwise::same;

pub(super) const TABLE: &[Entry] = &[
    ("", "Scatter", scatter_elements),
    ("", "ScatterElements", scatter_elements),
    ("", "ScatterND", scatter_nd),
    ("", "TensorScatter", same),
];

fn scatter_elements(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    if context.node.string("reduction").is_some_and(|reduction| reduction != "none") {
        return None;
    }
    let (data, indices, updates) = (context.input(0)?, context.input(1)?, context.input(2)?);
    let axis = axis_of(context.int("axis", 0), data.rank()?)?;
    let (to, from) = (small_shape(data.shape.as_deref()?)?, small_shape(indices.shape.as_deref()?)?);
    let mut elements = data.elements()?.to_vec();
    let indices = indices.known_ints()?;
    let strides = strides(&to);
    for (at, mut place) in places(&from).enumerate() {
        *place.get_mut(axis)? = axis_of(*indices.get(at)?, to[axis])?;
        let position: usize = place.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
        *elements.get_mut(position)? = updates.value.as_ref().and_then(|value| value.at(at)).cloned();
    }
    context.set_elements(0, elements);
    Some(())
}

fn scatter_nd(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    if context.node.string("reduction").is_some_and(|reduction| reduction != "none") {
        return None;
    }
    let value = scattered(context.input(0)?, context.input(1)?, context.input(2)?);
    context.set_value(0, value);
    Some(())
}

fn scattered(data: &Fact, indices: &Fact, updates: &Fact) -> Option<Value> {
    // Writing what is there already changes nothing, whatever the indices are.
    if let (Some(Value::Uniform(a)), Some(b)) = (&data.value, updates.scalar())
        && *a == b
    {
        return data.value.clone();
    }
    let shape = small_shape(data.shape.as_deref()?)?;
    let mut elements = data.elements()?.to_vec();
    let index_shape = small_shape(indices.shape.as_deref()?)?;
    let (n_index, _) = index_shape.split_last()?;
    let indices = indices.known_ints()?;
    let strides = strides(&shape);
    let n_block = count(shape.get(*n_index..)?)?;
    if *n_index == 0 {
        return None;
    }
    for (at, index) in indices.chunks(*n_index).enumerate() {
        let mut start = 0;
        for ((number, dim), stride) in index.iter().zip(&shape).zip(&strides) {
            start += axis_of(*number, *dim)? * stride;
        }
        for offset in 0..n_block {
            let update = updates.value.as_ref().and_then(|value| value.at(at * n_block + offset)).cloned();
            *elements.get_mut(start + offset)? = update;
        }
    }
    Fact::default().with_elements(elements).value
}
