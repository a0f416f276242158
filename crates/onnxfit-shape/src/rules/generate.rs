//! Operators that make tensors from sizes.

use onnxfit_onnx::DataType;

use crate::constant::fact_of_tensor;
use crate::context::{Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, N_ELEMENTS_MAX, Value};
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::scalar::{Arithmetic, Scalar};

pub(super) const TABLE: &[Entry] = &[
    ("", "ConstantOfShape", constant_of_shape),
    ("", "Range", range),
    (MICROSOFT, "Range", range),
    ("", "EyeLike", like_with_type),
    ("", "RandomNormalLike", like_with_type),
    ("", "RandomUniformLike", like_with_type),
    ("", "Bernoulli", like_with_type),
    ("", "RandomNormal", random),
    ("", "RandomUniform", random),
    ("", "Multinomial", multinomial),
    ("", "OneHot", one_hot),
];

/// The shape that an input holds as content.
pub(super) fn shape_input(context: &RuleContext<'_, '_>, input: usize) -> Option<Dims> {
    if let Some(dims) = context.ints(input) {
        return Some(dims);
    }
    let rank = usize::try_from(context.dim(input, 0)?.as_constant()?).ok().filter(|rank| *rank <= 64)?;
    Some(vec![None; rank])
}

fn constant_of_shape(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let filler = match context.node.tensor("value") {
        Some(tensor) => fact_of_tensor(tensor),
        None => Fact::tensor(Some(DataType::Float), None).with_elements(vec![Some(Scalar::Float(0.0))]),
    };
    context.set(0, filler.element_type, None);
    let dims = shape_input(context, 0)?;
    context.set(0, filler.element_type, Some(dims));
    context.set_value(0, filler.scalar().map(Value::Uniform));
    Some(())
}

fn range(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, Some(vec![None]));
    let (start, limit) = (context.input(0)?.scalar()?, context.input(1)?.scalar()?);
    let delta = match context.input(2) {
        Some(fact) => fact.scalar()?,
        None => Scalar::int(1).cast(element_type?)?,
    };
    let n = match (&start, &limit, &delta) {
        (Scalar::Float(start), Scalar::Float(limit), Scalar::Float(delta)) => {
            let n = ((limit - start) / delta).ceil().max(0.0);
            (n < 1e15).then_some(Expr::constant(n as i64))?
        }
        _ => {
            let (start, limit, delta) = (whole(&start)?, whole(&limit)?, whole(&delta)?.as_constant()?);
            let span = if delta < 0 { start.sub(&limit)? } else { limit.sub(&start)? };
            span.ceil_div(&Expr::constant(delta.checked_abs()?))?.larger(&Expr::constant(0))?
        }
    };
    context.set(0, element_type, Some(vec![Some(n.clone())]));
    let n = n.as_constant().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= N_ELEMENTS_MAX)?;
    let element_type = element_type?;
    let mut at = start;
    let mut elements = Vec::with_capacity(n);
    for _ in 0..n {
        elements.push(Some(at.clone()));
        at = at.arithmetic(Arithmetic::Add, &delta, element_type)?;
    }
    context.set_elements(0, elements);
    Some(())
}

/// The whole number, also when it is held as a floating-point one.
fn whole(scalar: &Scalar) -> Option<Expr> {
    match scalar {
        Scalar::Int(expr) | Scalar::Ratio(expr, 1) => Some(expr.clone()),
        Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some(Expr::constant(*number as i64)),
        _ => None,
    }
}

fn like_with_type(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("dtype").or(context.element_type(0));
    let dims = context.shape(0).map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(0, element_type, dims);
    Some(())
}

fn random(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let dims = context.node.ints("shape").map(|dims| dims.iter().map(|dim| Some(Expr::constant(*dim))).collect());
    context.set(0, context.type_attribute("dtype").or(Some(DataType::Float)), dims);
    Some(())
}

fn multinomial(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("dtype").or(Some(DataType::Int32));
    let dims = vec![context.dim(0, 0), Some(Expr::constant(context.int("sample_size", 1)))];
    context.set(0, element_type, Some(dims));
    Some(())
}

fn one_hot(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(2);
    context.set(0, element_type, None);
    let indices = context.shape(0)?;
    let depth = context.input(1)?.scalar().and_then(|depth| whole(&depth.cast(DataType::Int64)?));
    let axis = axis_of(context.int("axis", -1), indices.len() + 1)?;
    let mut dims: Dims = indices.iter().cloned().map(Some).collect();
    dims.insert(axis, depth);
    context.set(0, element_type, Some(dims));
    Some(())
}
