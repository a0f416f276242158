//! Operators that pick elements by index.

use crate::context::{Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, Value};
use crate::grid::{places, small_shape, strides};
use crate::registry::Entry;
use crate::rules::MICROSOFT;

pub(super) const TABLE: &[Entry] = &[
    ("", "Gather", gather),
    ("", "GatherElements", gather_elements),
    ("", "GatherND", gather_nd),
    (MICROSOFT, "GatherND", gather_nd),
    (MICROSOFT, "GatherBlockQuantized", gather_block_quantized),
];

fn known_dims(shape: &[Expr]) -> Dims {
    shape.iter().cloned().map(Some).collect()
}

fn gather(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let (data, indices) = (context.shape(0)?, context.shape(1)?);
    let axis = axis_of(context.int("axis", 0), data.len())?;
    let dims = [&data[..axis], indices, &data[axis + 1..]].concat();
    context.set(0, element_type, Some(known_dims(&dims)));
    let value = gathered(context.input(0)?, context.input(1)?, axis);
    context.set_value(0, value);
    Some(())
}

fn gathered(data: &Fact, indices: &Fact, axis: usize) -> Option<Value> {
    let value = data.value.as_ref()?;
    if matches!(value, Value::Uniform(_)) {
        return Some(value.clone());
    }
    let from = small_shape(data.shape.as_deref()?)?;
    let picked = small_shape(indices.shape.as_deref()?)?;
    let indices = indices.ints()?;
    let to = [&from[..axis], &picked, &from[axis + 1..]].concat();
    small_shape(&to.iter().map(|dim| Expr::constant(*dim as i64)).collect::<Vec<_>>())?;
    let (from_strides, picked_strides) = (strides(&from), strides(&picked));
    let elements = places(&to).map(|place| {
        let (outer, rest) = place.split_at(axis);
        let (middle, inner) = rest.split_at(picked.len());
        let which: usize = middle.iter().zip(&picked_strides).map(|(at, stride)| at * stride).sum();
        let index = axis_of(indices.get(which)?.as_ref()?.as_constant()?, from[axis])?;
        let outer: usize = outer.iter().zip(&from_strides).map(|(at, stride)| at * stride).sum();
        let inner: usize = inner.iter().zip(&from_strides[axis + 1..]).map(|(at, stride)| at * stride).sum();
        value.at(outer + index * from_strides[axis] + inner).cloned()
    });
    Fact::default().with_elements(elements.collect()).value
}

fn gather_elements(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let shape = context.shape(1).map(known_dims);
    context.set(0, context.element_type(0), shape);
    Some(())
}

fn gather_nd(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let (data, indices) = (context.shape(0)?, context.shape(1)?);
    let n_batch = usize::try_from(context.int("batch_dims", 0)).ok()?;
    let (last, outer) = indices.split_last()?;
    let n_index = usize::try_from(last.as_constant()?).ok()?;
    let rest = data.get(n_batch.checked_add(n_index)?..)?;
    let dims = [outer, rest].concat();
    context.set(0, element_type, Some(known_dims(&dims)));
    // Picking single elements of a vector of sizes is a plain gather.
    if let (1, 0, 1, Some(Value::Elements(elements)), Some(indices)) =
        (data.len(), n_batch, n_index, context.input(0)?.value.as_ref(), context.ints(1))
    {
        let pick = |index: &Option<Expr>| {
            elements.get(axis_of(index.as_ref()?.as_constant()?, elements.len())?).cloned().flatten()
        };
        context.set_elements(0, indices.iter().map(pick).collect());
    }
    Some(())
}

fn gather_block_quantized(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(2);
    context.set(0, element_type, None);
    let (data, indices) = (context.shape(0)?, context.shape(1)?);
    let axis = axis_of(context.int("gather_axis", 0), data.len())?;
    let mut dims = [&data[..axis], indices, &data[axis + 1..]].concat();
    // Two 4-bit elements share a byte when the data is declared as bytes.
    if context.element_type(0) == Some(onnxfit_onnx::DataType::Uint8) && context.int("bits", 4) == 4 {
        let last = dims.last_mut()?;
        *last = last.scale(2)?;
    }
    context.set(0, element_type, Some(known_dims(&dims)));
    Some(())
}
