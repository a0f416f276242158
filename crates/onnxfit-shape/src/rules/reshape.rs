//! Operators that give the same elements another shape or order.

use crate::context::{Axes, Dims, RuleContext, axes_of};
use crate::expr::Expr;
use crate::fact::{Fact, Value};
use crate::grid::{positions, small_shape, strides};
use crate::registry::Entry;

pub(super) const TABLE: &[Entry] = &[
    ("", "Reshape", reshape),
    ("", "Flatten", flatten),
    ("", "Squeeze", squeeze),
    ("", "Unsqueeze", unsqueeze),
    ("", "Transpose", transpose),
    ("", "SpaceToDepth", space_to_depth),
    ("", "DepthToSpace", depth_to_space),
];

/// Sets the first output to a shape of the same elements.
fn set_same_elements(context: &mut RuleContext<'_, '_>, dims: Dims) {
    context.set(0, context.element_type(0), Some(dims));
    let value = context.input(0).and_then(|fact| fact.value.clone());
    context.set_value(0, value);
}

fn reshape(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let target: Dims = match (context.node.ints("shape"), context.ints(1)) {
        (Some(dims), _) if context.n_inputs() < 2 => dims.iter().map(|dim| Some(Expr::constant(*dim))).collect(),
        (_, Some(target)) => target,
        (_, None) => {
            let rank = usize::try_from(context.dim(1, 0)?.as_constant()?).ok().filter(|rank| *rank <= 64)?;
            vec![None; rank]
        }
    };
    let input = context.shape(0);
    let keeps_zero = context.flag("allowzero");
    let mut dims = Dims::with_capacity(target.len());
    let mut open = Vec::new();
    for (at, dim) in target.into_iter().enumerate() {
        match dim.as_ref().and_then(Expr::as_constant) {
            Some(0) if !keeps_zero => dims.push(input.and_then(|input| input.get(at).cloned())),
            Some(-1) => {
                open.push(at);
                dims.push(None);
            }
            _ => {
                if dim.is_none() {
                    open.push(at);
                }
                dims.push(dim);
            }
        }
    }
    // One open size follows from the number of elements, whether it was written -1 or is unknown.
    if let (Some(input), [open]) = (input, open.as_slice())
        && dims.iter().enumerate().all(|(at, dim)| at == *open || dim.is_some())
    {
        dims[*open] = rest_of(input, dims.iter().flatten());
    }
    set_same_elements(context, dims);
    Some(())
}

/// The size that is left of `input`'s elements after `others`.
fn rest_of<'a>(input: &[Expr], others: impl Iterator<Item = &'a Expr>) -> Option<Expr> {
    // Sizes on both sides cancel first: their products may be too big to write down.
    let mut above: Vec<&Expr> = input.iter().collect();
    let mut below = Vec::new();
    for dim in others {
        match above.iter().position(|candidate| *candidate == dim) {
            Some(at) => {
                above.swap_remove(at);
            }
            None => below.push(dim),
        }
    }
    let above = Expr::product(above)?;
    let below = Expr::product(below)?;
    if below.is(0) { Some(Expr::constant(0)) } else { above.floor_div(&below) }
}

fn flatten(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), Some(vec![None, None]));
    let shape = context.shape(0)?;
    let axis = context.int("axis", 1);
    let rank = i64::try_from(shape.len()).ok()?;
    let at = usize::try_from(if axis < 0 { axis.checked_add(rank)? } else { axis }).ok()?;
    let (before, after) = shape.split_at_checked(at)?;
    set_same_elements(context, vec![Expr::product(before), Expr::product(after)]);
    Some(())
}

fn squeeze(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), None);
    let shape = context.shape(0)?;
    let dropped = match context.axes("axes", 1) {
        Axes::Known(axes) => axes_of(&axes, shape.len())?,
        Axes::Unknown => return None,
        Axes::Absent => {
            if shape.iter().any(|dim| dim.as_constant().is_none()) {
                context.assume("only sizes that are the number 1 are dropped");
            }
            shape.iter().enumerate().filter(|(_, dim)| dim.is(1)).map(|(at, _)| at).collect()
        }
    };
    let kept = shape.iter().enumerate().filter(|(at, _)| !dropped.contains(at)).map(|(_, dim)| Some(dim.clone()));
    set_same_elements(context, kept.collect());
    Some(())
}

fn unsqueeze(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), None);
    let shape = context.shape(0)?;
    let axes = match context.axes("axes", 1) {
        Axes::Known(axes) => axes,
        Axes::Absent => Vec::new(),
        Axes::Unknown => {
            let n_new = usize::try_from(context.dim(1, 0)?.as_constant()?).ok()?;
            context.set(0, context.element_type(0), Some(vec![None; (shape.len() + n_new).min(65)]));
            return None;
        }
    };
    let rank = shape.len() + axes.len();
    let axes = axes_of(&axes, rank)?;
    let mut rest = shape.iter();
    let dims = (0..rank).map(|at| if axes.contains(&at) { Some(Expr::constant(1)) } else { rest.next().cloned() });
    set_same_elements(context, dims.collect());
    Some(())
}

fn transpose(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), None);
    let shape = context.shape(0)?;
    let order: Vec<usize> = match context.node.ints("perm") {
        Some(perm) if perm.len() == shape.len() => axes_of(perm, shape.len())?,
        Some(_) => return None,
        None => (0..shape.len()).rev().collect(),
    };
    context.set(0, context.element_type(0), Some(order.iter().map(|at| Some(shape[*at].clone())).collect()));
    let value = transposed(context.input(0)?, &order);
    context.set_value(0, value);
    Some(())
}

fn transposed(fact: &Fact, order: &[usize]) -> Option<Value> {
    let value = fact.value.as_ref()?;
    if matches!(value, Value::Uniform(_)) {
        return Some(value.clone());
    }
    let shape = small_shape(fact.shape.as_deref()?)?;
    let from = strides(&shape);
    let to: Vec<usize> = order.iter().map(|at| shape[*at]).collect();
    let steps: Vec<usize> = order.iter().map(|axis| from[*axis]).collect();
    let elements = positions(&to, &steps, 0).map(|at| value.at(at).cloned());
    Fact::default().with_elements(elements.collect()).value
}

fn space_to_depth(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), Some(vec![None; 4]));
    let block = Expr::constant(context.node.int("blocksize")?);
    let [n, c, h, w] = context.shape(0)? else { return None };
    let channels = c.mul(&block).and_then(|c| c.mul(&block));
    context.set(
        0,
        context.element_type(0),
        Some(vec![Some(n.clone()), channels, h.floor_div(&block), w.floor_div(&block)]),
    );
    Some(())
}

fn depth_to_space(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), Some(vec![None; 4]));
    let block = Expr::constant(context.node.int("blocksize")?);
    let [n, c, h, w] = context.shape(0)? else { return None };
    let channels = c.floor_div(&block.mul(&block)?);
    context.set(0, context.element_type(0), Some(vec![Some(n.clone()), channels, h.mul(&block), w.mul(&block)]));
    Some(())
}
