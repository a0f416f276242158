//! Operators that read a shape or keep content as it is.

use onnxfit_onnx::DataType;

use crate::constant::fact_of_tensor;
use crate::context::RuleContext;
use crate::expr::Expr;
use crate::fact::Fact;
use crate::registry::Entry;
use crate::scalar::Scalar;

pub(super) const TABLE: &[Entry] = &[
    ("", "Shape", shape),
    ("", "Size", size),
    ("", "Identity", identity),
    ("", "Constant", constant),
    ("com.microsoft", "MemcpyFromHost", identity),
    ("", "MemcpyFromHost", identity),
    ("", "MemcpyToHost", identity),
];

fn shape(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Int64), Some(vec![None]));
    let shape = context.shape(0)?;
    let rank = i64::try_from(shape.len()).ok()?;
    let bound = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank);
    let start = bound(context.int("start", 0));
    let end = bound(context.int("end", rank)).max(start);
    let kept = &shape[usize::try_from(start).ok()?..usize::try_from(end).ok()?];
    context.set(0, Some(DataType::Int64), Some(vec![Some(Expr::constant(end - start))]));
    context.set_elements(0, kept.iter().map(|dim| Some(Scalar::Int(dim.clone()))).collect());
    Some(())
}

fn size(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Int64), Some(Vec::new()));
    let n_elements = context.input(0)?.n_elements()?;
    context.set_elements(0, vec![Some(Scalar::Int(n_elements))]);
    Some(())
}

fn identity(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let fact = context.input(0)?.clone();
    context.set_fact(0, fact);
    Some(())
}

fn constant(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let node = context.node;
    if let Some(tensor) = node.tensor("value") {
        context.set_fact(0, fact_of_tensor(tensor));
    } else if let Some(number) = node.int("value_int") {
        context.set(0, Some(DataType::Int64), Some(Vec::new()));
        context.set_elements(0, vec![Some(Scalar::int(number))]);
    } else if let Some(numbers) = node.ints("value_ints") {
        context.set_fact(0, vector(DataType::Int64, numbers.iter().map(|number| Scalar::int(*number))));
    } else if let Some(number) = node.float("value_float") {
        context.set(0, Some(DataType::Float), Some(Vec::new()));
        context.set_elements(0, vec![Some(Scalar::Float(f64::from(number)))]);
    } else {
        return other_constant(context);
    }
    Some(())
}

fn other_constant(context: &mut RuleContext<'_, '_>) -> Option<()> {
    use onnxfit_graph::AttributeValue::{Floats, String, Strings};
    let attribute = context.node.attributes.first()?;
    let text_shape = |n: usize| Some(vec![Some(Expr::constant(i64::try_from(n).ok()?))]);
    match (attribute.name.as_str(), &attribute.value) {
        ("value_floats", Floats(numbers)) => {
            let fact = vector(DataType::Float, numbers.iter().map(|number| Scalar::Float(f64::from(*number))));
            context.set_fact(0, fact);
        }
        ("value_string", String(_)) => context.set(0, Some(DataType::String), Some(Vec::new())),
        ("value_strings", Strings(texts)) => context.set(0, Some(DataType::String), text_shape(texts.len())),
        ("sparse_value", _) => {
            let sparse = attribute.as_sparse_tensor()?;
            let element_type = sparse.values.as_ref().and_then(|values| values.element_type().ok());
            let dims = sparse.dims.iter().map(|dim| Some(Expr::constant(*dim))).collect();
            context.set(0, element_type, Some(dims));
        }
        _ => return None,
    }
    Some(())
}

fn vector(element_type: DataType, scalars: impl ExactSizeIterator<Item = Scalar>) -> Fact {
    let n_elements = i64::try_from(scalars.len()).unwrap_or(i64::MAX);
    Fact::tensor(Some(element_type), Some(vec![Expr::constant(n_elements)])).with_elements(scalars.map(Some).collect())
}
