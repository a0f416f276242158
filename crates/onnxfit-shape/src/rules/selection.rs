//! Operators whose sizes depend on data: what is kept, and how much of it at most.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, N_ELEMENTS_MAX, Value};
use crate::grid::{places, small_shape};
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::scalar::Scalar;

pub(super) const TABLE: &[Entry] = &[
    ("", "NonZero", non_zero),
    ("", "TopK", top_k),
    ("", "NonMaxSuppression", non_max_suppression),
    ("", "Unique", unique),
    (MICROSOFT, "Unique", unique_of_vector),
    ("", "Compress", compress),
];

fn non_zero(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let int64 = Some(DataType::Int64);
    context.set(0, int64, Some(vec![None, None]));
    let input = context.input(0)?;
    let shape = input.shape.as_deref()?;
    // A scalar counts as a vector of one.
    let rank = Some(Expr::constant(i64::try_from(shape.len().max(1)).ok()?));
    let n_elements = input.n_elements();
    let is_uniform = match &input.value {
        Some(Value::Uniform(scalar)) => scalar.is_true(),
        _ => None,
    };
    match is_uniform {
        Some(true) => context.set(0, int64, Some(vec![rank.clone(), n_elements.clone()])),
        Some(false) => context.set(0, int64, Some(vec![rank.clone(), Some(Expr::constant(0))])),
        None => {
            let n = context.data_dependent_dim(0, 1, n_elements);
            context.set(0, int64, Some(vec![rank.clone(), Some(n)]));
        }
    }
    let found = found_places(input)?;
    let n_found = i64::try_from(found.len()).ok()?;
    context.set(0, int64, Some(vec![rank, Some(Expr::constant(n_found))]));
    let n_axes = shape.len().max(1);
    let coordinate = |place: &Vec<usize>, axis: usize| i64::try_from(place.get(axis).copied().unwrap_or(0)).ok();
    if found.len().checked_mul(n_axes)? <= N_ELEMENTS_MAX {
        let rows = (0..n_axes).flat_map(|axis| found.iter().map(move |place| coordinate(place, axis).map(Scalar::int)));
        context.set_elements(0, rows.collect());
    }
    Some(())
}

fn found_places(input: &Fact) -> Option<Vec<Vec<usize>>> {
    let value = input.value.as_ref()?;
    let shape = small_shape(input.shape.as_deref()?)?;
    let mut found = Vec::new();
    for (at, place) in places(&shape).enumerate() {
        if value.at(at)?.is_true()? {
            found.push(place);
        }
    }
    Some(found)
}

fn top_k(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let types = [context.element_type(0), Some(DataType::Int64)];
    for (output, element_type) in types.iter().enumerate() {
        context.set(output, *element_type, None);
    }
    let shape = context.shape(0)?;
    let axis = axis_of(context.int("axis", -1), shape.len())?;
    let k = match context.node.int("k") {
        Some(k) => Some(Expr::constant(k)),
        None => context.int_input(1),
    };
    let k = k.unwrap_or_else(|| context.data_dependent_dim(0, axis, Some(shape[axis].clone())));
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    dims[axis] = Some(k);
    for (output, element_type) in types.into_iter().enumerate() {
        context.set(output, element_type, Some(dims.clone()));
    }
    Some(())
}

fn non_max_suppression(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let n_per_class = match context.input(2) {
        None => Some(Expr::constant(0)),
        Some(fact) => fact.scalar().and_then(|scalar| scalar.as_expr().cloned()),
    };
    let n_boxes = context.dim(0, 1);
    let n_per_class = match (n_per_class, n_boxes) {
        (Some(a), Some(b)) => a.smaller(&b),
        (a, b) => a.or(b),
    };
    let n_classes = context.dim(1, 0).zip(context.dim(1, 1)).and_then(|(batch, classes)| batch.mul(&classes));
    let most = n_per_class.zip(n_classes).and_then(|(boxes, classes)| boxes.mul(&classes));
    let n = if most.as_ref().is_some_and(|most| most.is(0)) {
        Expr::constant(0)
    } else {
        context.data_dependent_dim(0, 0, most)
    };
    context.set(0, Some(DataType::Int64), Some(vec![Some(n), Some(Expr::constant(3))]));
    Some(())
}

fn unique(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let int64 = Some(DataType::Int64);
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    for output in 1..4 {
        context.set(output, int64, Some(vec![None]));
    }
    let shape = context.shape(0)?;
    let (most, mut dims, axis) = match context.node.int("axis") {
        Some(axis) => {
            let axis = axis_of(axis, shape.len())?;
            (Some(shape[axis].clone()), shape.iter().cloned().map(Some).collect::<Dims>(), axis)
        }
        None => (Expr::product(shape), vec![None], 0),
    };
    let n = context.data_dependent_dim(0, axis, most.clone());
    dims[axis] = Some(n.clone());
    context.set(0, element_type, Some(dims));
    context.set(1, int64, Some(vec![Some(n.clone())]));
    context.set(2, int64, Some(vec![most]));
    context.set(3, int64, Some(vec![Some(n)]));
    Some(())
}

fn unique_of_vector(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let int64 = Some(DataType::Int64);
    let most = context.dim(0, 0);
    let n = context.data_dependent_dim(0, 0, most.clone());
    context.set(0, context.element_type(0), Some(vec![Some(n.clone())]));
    context.set(1, int64, Some(vec![most]));
    context.set(2, int64, Some(vec![Some(n)]));
    Some(())
}

fn compress(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let (axis, mut dims, most) = match context.node.int("axis") {
        Some(axis) => {
            let axis = axis_of(axis, shape.len())?;
            (axis, shape.iter().cloned().map(Some).collect::<Dims>(), Some(shape[axis].clone()))
        }
        None => (0, vec![None], Expr::product(shape)),
    };
    let condition = context.input(1).and_then(Fact::known_ints);
    let n = match condition {
        Some(flags) => Expr::constant(i64::try_from(flags.iter().filter(|flag| **flag != 0).count()).ok()?),
        None => {
            let n_flags = context.dim(1, 0);
            let most = match (most, n_flags) {
                (Some(a), Some(b)) => a.smaller(&b),
                (a, b) => a.or(b),
            };
            context.data_dependent_dim(0, axis, most)
        }
    };
    dims[axis] = Some(n);
    context.set(0, element_type, Some(dims));
    Some(())
}
