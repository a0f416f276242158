//! Operators that compute each element on its own.

use onnxfit_onnx::DataType;

use crate::context::RuleContext;
use crate::expr::Expr;
use crate::fact::{Fact, Value};
use crate::grid::{broadcast_positions, count, small_shape};
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::scalar::{Arithmetic, Rounding, Scalar};

pub(super) const TABLE: &[Entry] = &[
    ("", "Add", |c| arithmetic(c, Arithmetic::Add)),
    ("", "Sub", |c| arithmetic(c, Arithmetic::Sub)),
    ("", "Mul", |c| arithmetic(c, Arithmetic::Mul)),
    ("", "Div", |c| arithmetic(c, Arithmetic::Div)),
    ("", "Pow", |c| arithmetic(c, Arithmetic::Pow)),
    ("", "Mod", |c| arithmetic(c, if c.flag("fmod") { Arithmetic::Fmod } else { Arithmetic::Mod })),
    ("", "Max", |c| arithmetic(c, Arithmetic::Max)),
    ("", "Min", |c| arithmetic(c, Arithmetic::Min)),
    ("", "Sum", |c| arithmetic(c, Arithmetic::Add)),
    ("", "Mean", broadcasting),
    ("", "BitwiseAnd", |c| arithmetic(c, Arithmetic::BitAnd)),
    ("", "BitwiseOr", |c| arithmetic(c, Arithmetic::BitOr)),
    ("", "BitwiseXor", |c| arithmetic(c, Arithmetic::BitXor)),
    ("", "BitShift", broadcasting),
    ("", "PRelu", same),
    ("", "Equal", |c| truth(c, |a, b| a?.equals(b?))),
    ("", "Greater", |c| truth(c, |a, b| Some(a?.compare(b?)?.is_gt()))),
    ("", "GreaterOrEqual", |c| truth(c, |a, b| Some(a?.compare(b?)?.is_ge()))),
    ("", "Less", |c| truth(c, |a, b| Some(a?.compare(b?)?.is_lt()))),
    ("", "LessOrEqual", |c| truth(c, |a, b| Some(a?.compare(b?)?.is_le()))),
    ("", "And", |c| truth(c, and)),
    ("", "Or", |c| truth(c, |a, b| and(a.and_then(not).as_ref(), b.and_then(not).as_ref()).map(|both| !both))),
    ("", "Xor", |c| truth(c, |a, b| Some(a?.is_true()? != b?.is_true()?))),
    ("", "Not", |c| unary(c, Some(DataType::Bool), |a, _| not(a))),
    ("", "IsNaN", is_special),
    ("", "IsInf", is_special),
    ("", "Where", where_),
    ("", "Cast", |c| cast(c, c.type_attribute("to"))),
    ("", "CastLike", |c| cast(c, c.element_type(1))),
    ("", "BitCast", bit_cast),
    ("", "Clip", clip),
    ("", "Neg", |c| unary_same(c, |a, _| a.neg())),
    ("", "Abs", |c| unary_same(c, |a, _| a.abs())),
    ("", "Floor", |c| unary_same(c, |a, _| a.rounded(Rounding::Down))),
    ("", "Ceil", |c| unary_same(c, |a, _| a.rounded(Rounding::Up))),
    ("", "Round", |c| unary_same(c, |a, _| a.rounded(Rounding::HalfToEven))),
    ("", "Sqrt", |c| unary_same(c, |a, t| a.map_float(t, f64::sqrt))),
    ("", "Exp", |c| unary_same(c, |a, t| a.map_float(t, f64::exp))),
    ("", "Log", |c| unary_same(c, |a, t| a.map_float(t, f64::ln))),
    ("", "Reciprocal", |c| unary_same(c, |a, t| a.map_float(t, f64::recip))),
    ("", "Relu", |c| unary_same(c, |a, t| a.arithmetic(Arithmetic::Max, &Scalar::int(0).cast(t)?, t))),
    ("", "Sign", |c| unary_same(c, sign)),
    ("", "Acos", same),
    ("", "Acosh", same),
    ("", "Asin", same),
    ("", "Asinh", same),
    ("", "Atan", same),
    ("", "Atanh", same),
    ("", "Cos", same),
    ("", "Cosh", same),
    ("", "Sin", same),
    ("", "Sinh", same),
    ("", "Tan", same),
    ("", "Tanh", same),
    ("", "Erf", same),
    ("", "Sigmoid", same),
    ("", "HardSigmoid", same),
    ("", "HardSwish", same),
    ("", "Swish", same),
    ("", "Elu", same),
    ("", "Celu", same),
    ("", "Selu", same),
    ("", "Gelu", same),
    ("", "Mish", same),
    ("", "Softplus", same),
    ("", "Softsign", same),
    ("", "LeakyRelu", same),
    ("", "ThresholdedRelu", same),
    ("", "Shrink", same),
    ("", "BitwiseNot", same),
    ("", "Affine", same),
    ("", "Scale", same),
    ("", "Crop", same_type),
    ("", "ScaledTanh", same),
    ("", "ParametricSoftplus", same),
    ("", "ImageScaler", same),
    ("", "CumSum", same),
    ("", "CumProd", same),
    ("", "Softmax", same),
    ("", "LogSoftmax", same),
    ("", "Hardmax", same),
    ("", "Trilu", same),
    ("", "ReverseSequence", same),
    ("", "Dropout", dropout),
    (MICROSOFT, "Trilu", same),
    (MICROSOFT, "Gelu", same),
    (MICROSOFT, "FastGelu", same),
    (MICROSOFT, "QuickGelu", same),
    (MICROSOFT, "BiasGelu", same),
    (MICROSOFT, "BiasAdd", same),
    (MICROSOFT, "BiasSoftmax", same),
    (MICROSOFT, "BiasDropout", dropout),
    (MICROSOFT, "BitmaskDropout", same),
    (MICROSOFT, "Inverse", same),
    (MICROSOFT, "ComplexMul", same),
    (MICROSOFT, "ComplexMulConj", same),
    (MICROSOFT, "BiasSplitGelu", bias_split_gelu),
];

/// The first output is what the first input is, other outputs are unknown.
pub(super) fn same(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let fact = Fact { value: None, ..context.input(0)?.clone() };
    context.set_fact(0, fact);
    Some(())
}

/// The first output has the first input's element type.
pub(super) fn same_type(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), None);
    Some(())
}

/// All inputs broadcast; the element type is the first one's.
pub(super) fn broadcasting(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = (0..context.n_inputs()).find_map(|index| context.element_type(index));
    set_broadcast(context, element_type, 0..context.n_inputs())
}

/// Sets the first output to the shape that some inputs broadcast to.
pub(super) fn set_broadcast(
    context: &mut RuleContext<'_, '_>,
    element_type: Option<DataType>,
    inputs: impl IntoIterator<Item = usize>,
) -> Option<()> {
    context.set(0, element_type, None);
    let shapes: Vec<&[Expr]> = inputs.into_iter().map(|index| context.shape(index)).collect::<Option<_>>()?;
    let dims = context.broadcast(&shapes);
    context.set(0, element_type, Some(dims));
    Some(())
}

fn arithmetic(context: &mut RuleContext<'_, '_>, operation: Arithmetic) -> Option<()> {
    if context.opset < 7 {
        return same(context);
    }
    broadcasting(context)?;
    let element_type = context.output(0)?.element_type?;
    map(context, |scalars| {
        let (first, rest) = scalars.split_first()?;
        let first = (*first)?.clone();
        rest.iter().try_fold(first, |so_far, next| so_far.arithmetic(operation, (*next)?, element_type))
    })
}

fn truth(
    context: &mut RuleContext<'_, '_>,
    compare: fn(Option<&Scalar>, Option<&Scalar>) -> Option<bool>,
) -> Option<()> {
    if context.opset < 7 {
        let shape = context.shape(0)?;
        context.set_shape(0, Some(DataType::Bool), shape);
        return Some(());
    }
    set_broadcast(context, Some(DataType::Bool), 0..2)?;
    map(context, |scalars| compare(scalars[0], scalars[1]).map(Scalar::truth))
}

fn and(a: Option<&Scalar>, b: Option<&Scalar>) -> Option<bool> {
    match (a.and_then(Scalar::is_true), b.and_then(Scalar::is_true)) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn not(a: &Scalar) -> Option<Scalar> {
    a.is_true().map(|is_true| Scalar::truth(!is_true))
}

fn sign(a: &Scalar, element_type: DataType) -> Option<Scalar> {
    let order = a.compare(&Scalar::int(0))?;
    Scalar::int(order as i64).cast(element_type)
}

fn is_special(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let shape = context.shape(0).map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(0, Some(DataType::Bool), shape);
    Some(())
}

fn unary_same(context: &mut RuleContext<'_, '_>, function: fn(&Scalar, DataType) -> Option<Scalar>) -> Option<()> {
    unary(context, context.element_type(0), function)
}

fn unary(
    context: &mut RuleContext<'_, '_>,
    element_type: Option<DataType>,
    function: fn(&Scalar, DataType) -> Option<Scalar>,
) -> Option<()> {
    let fact = context.input(0)?;
    let shape = fact.shape.as_ref().map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(0, element_type, shape);
    let element_type = element_type?;
    map(context, |scalars| function(scalars[0]?, element_type))
}

fn cast(context: &mut RuleContext<'_, '_>, to: Option<DataType>) -> Option<()> {
    unary(context, to, Scalar::cast)
}

fn bit_cast(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let shape = context.shape(0).map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(0, context.type_attribute("to"), shape);
    Some(())
}

fn where_(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(1).or(context.element_type(2));
    set_broadcast(context, element_type, 0..3)?;
    map(context, |scalars| match scalars[0].and_then(Scalar::is_true) {
        Some(true) => scalars[1].cloned(),
        Some(false) => scalars[2].cloned(),
        None if scalars[1] == scalars[2] => scalars[1].cloned(),
        None => None,
    })
}

fn clip(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    same(context)?;
    let element_type = element_type?;
    let limit = |index: usize, attribute: &str| match (context.input(index), context.node.float(attribute)) {
        (Some(fact), _) => fact.scalar().map(Some),
        (None, Some(number)) => Some(Some(Scalar::Float(f64::from(number)))),
        (None, None) => Some(None),
    };
    let (least, most) = (limit(1, "min")?, limit(2, "max")?);
    map_inputs(context, 1, |scalars| {
        let mut scalar = scalars[0]?.clone();
        if let Some(least) = &least {
            scalar = scalar.arithmetic(Arithmetic::Max, least, element_type)?;
        }
        if let Some(most) = &most {
            scalar = scalar.arithmetic(Arithmetic::Min, most, element_type)?;
        }
        Some(scalar)
    })
}

fn dropout(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let input = context.input(0)?;
    context.set_fact(0, input.clone());
    let mask_type = if context.opset >= 10 { Some(DataType::Bool) } else { input.element_type };
    let shape = input.shape.as_ref().map(|shape| shape.iter().cloned().map(Some).collect());
    context.set(1, mask_type, shape);
    Some(())
}

fn bias_split_gelu(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same_type(context)?;
    let mut shape = context.shape(0)?.to_vec();
    let last = shape.last_mut()?;
    *last = last.floor_div(&Expr::constant(2))?;
    context.set_shape(0, context.element_type(0), &shape);
    Some(())
}

/// Computes the content of the first output from all inputs, which broadcast to its shape.
fn map(context: &mut RuleContext<'_, '_>, function: impl Fn(&[Option<&Scalar>]) -> Option<Scalar>) -> Option<()> {
    map_inputs(context, context.n_inputs(), function)
}

fn map_inputs(
    context: &mut RuleContext<'_, '_>,
    n_inputs: usize,
    function: impl Fn(&[Option<&Scalar>]) -> Option<Scalar>,
) -> Option<()> {
    let inputs: Vec<&Fact> = (0..n_inputs).map(|index| context.input(index)).collect::<Option<_>>()?;
    if inputs.iter().all(|fact| fact.value.is_none()) {
        return None;
    }
    let value = content(&inputs, context.output(0)?.shape.as_deref()?, function);
    context.set_value(0, value);
    Some(())
}

fn content(inputs: &[&Fact], shape: &[Expr], function: impl Fn(&[Option<&Scalar>]) -> Option<Scalar>) -> Option<Value> {
    let is_uniform = |fact: &&Fact| match &fact.value {
        Some(Value::Uniform(_)) => true,
        Some(Value::Elements(elements)) => elements.len() == 1,
        None => false,
    };
    if inputs.iter().all(is_uniform) {
        let scalars: Vec<Option<&Scalar>> = inputs.iter().map(|fact| fact.value.as_ref()?.at(0)).collect();
        return function(&scalars).map(Value::Uniform);
    }
    let shape = small_shape(shape)?;
    let mut sources: Vec<_> = inputs
        .iter()
        .map(|fact| match fact.value.as_ref()? {
            value @ Value::Uniform(_) => Some((value, None)),
            value => {
                let own = small_shape(fact.shape.as_deref()?)?;
                Some((value, Some(broadcast_positions(&shape, &own))))
            }
        })
        .collect();
    let n_elements = count(&shape)?;
    let mut elements = Vec::with_capacity(n_elements);
    let mut scalars: Vec<Option<&Scalar>> = Vec::with_capacity(inputs.len());
    for _ in 0..n_elements {
        scalars.clear();
        scalars.extend(sources.iter_mut().map(|source| {
            let (value, positions) = source.as_mut()?;
            value.at(positions.as_mut().map_or(Some(0), Iterator::next)?)
        }));
        elements.push(function(&scalars));
    }
    Fact::default().with_elements(elements).value
}
