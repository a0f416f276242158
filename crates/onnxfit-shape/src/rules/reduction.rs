//! Operators that fold axes into one number each.

use onnxfit_onnx::DataType;

use crate::context::{Axes, Dims, RuleContext, axes_of, axis_of};
use crate::expr::Expr;
use crate::fact::{Fact, Value};
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::scalar::{Arithmetic, Scalar};

pub(super) const TABLE: &[Entry] = &[
    ("", "ReduceSum", |c| reduce(c, Some(Arithmetic::Add))),
    ("", "ReduceProd", |c| reduce(c, Some(Arithmetic::Mul))),
    ("", "ReduceMax", |c| reduce(c, Some(Arithmetic::Max))),
    ("", "ReduceMin", |c| reduce(c, Some(Arithmetic::Min))),
    ("", "ReduceMean", |c| reduce(c, None)),
    ("", "ReduceL1", |c| reduce(c, None)),
    ("", "ReduceL2", |c| reduce(c, None)),
    ("", "ReduceLogSum", |c| reduce(c, None)),
    ("", "ReduceLogSumExp", |c| reduce(c, None)),
    ("", "ReduceSumSquare", |c| reduce(c, None)),
    (MICROSOFT, "ReduceSumInteger", |c| reduce(c, None)),
    (MICROSOFT, "QLinearReduceMean", |c| reduce(c, None)),
    ("", "ArgMax", arg),
    ("", "ArgMin", arg),
];

fn reduce(context: &mut RuleContext<'_, '_>, operation: Option<Arithmetic>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let input = context.input(0)?;
    let shape = input.shape.as_deref()?;
    let keeps = context.int("keepdims", 1) != 0;
    let axes_input = if context.node.domain == MICROSOFT { usize::MAX } else { 1 };
    let axes = match context.axes("axes", axes_input) {
        Axes::Known(axes) if !axes.is_empty() => axes_of(&axes, shape.len())?,
        Axes::Unknown => return reduce_unknown(context, shape, keeps),
        Axes::Known(_) | Axes::Absent if context.flag("noop_with_empty_axes") => {
            let fact = Fact { value: None, ..input.clone() };
            context.set_fact(0, fact);
            return Some(());
        }
        Axes::Known(_) | Axes::Absent => (0..shape.len()).collect(),
    };
    context.set(0, element_type, Some(folded(shape, &axes, keeps)));
    // Sizes are vectors, so folding everything is what matters.
    if let (Some(operation), Some(element_type), true) = (operation, element_type, axes.len() == shape.len()) {
        let value = fold(input, operation, element_type);
        context.set_value(0, value.map(Value::Uniform));
    }
    Some(())
}

fn reduce_unknown(context: &mut RuleContext<'_, '_>, shape: &[Expr], keeps: bool) -> Option<()> {
    let n_axes = usize::try_from(context.dim(1, 0)?.as_constant()?).ok()?;
    let rank = if keeps { shape.len() } else { shape.len().checked_sub(n_axes)? };
    context.set(0, context.element_type(0), Some(vec![None; rank]));
    Some(())
}

fn folded(shape: &[Expr], axes: &[usize], keeps: bool) -> Dims {
    let dims = shape.iter().enumerate().filter_map(|(at, dim)| match (axes.contains(&at), keeps) {
        (true, true) => Some(Some(Expr::constant(1))),
        (true, false) => None,
        (false, _) => Some(Some(dim.clone())),
    });
    dims.collect()
}

fn fold(input: &Fact, operation: Arithmetic, element_type: DataType) -> Option<Scalar> {
    if let (Arithmetic::Max | Arithmetic::Min, Some(Value::Uniform(scalar))) = (operation, &input.value) {
        return Some(scalar.clone());
    }
    // A sum of as many equal numbers as there are elements.
    if let (Arithmetic::Add, Some(Value::Uniform(Scalar::Int(one)))) = (operation, &input.value) {
        return one.mul(&input.n_elements()?).map(Scalar::Int);
    }
    let elements = input.elements()?;
    let mut scalars = elements.iter();
    let Some(first) = scalars.next() else {
        return match operation {
            Arithmetic::Add => Scalar::int(0).cast(element_type),
            Arithmetic::Mul => Scalar::int(1).cast(element_type),
            _ => None,
        };
    };
    scalars.try_fold(first.clone()?, |so_far, next| so_far.arithmetic(operation, next.as_ref()?, element_type))
}

fn arg(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Int64), None);
    let shape = context.shape(0)?;
    let axis = axis_of(context.int("axis", 0), shape.len())?;
    context.set(0, Some(DataType::Int64), Some(folded(shape, &[axis], context.int("keepdims", 1) != 0)));
    Some(())
}
