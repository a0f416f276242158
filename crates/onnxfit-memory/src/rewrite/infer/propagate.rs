//! Whole numbers that ONNX Runtime follows through shape computations.
//!
//! Only whole lists of numbers travel, never a list with one symbol in it, and initializers do not
//! enter except as indices (`Graph::SaveShapeValuesFromDataPropagation` and
//! core/graph/data_propagation, ORT 1.31).

use super::{Context, dim_value};

/// The values of the first output, with their rank (0 or 1).
pub(super) fn propagate(context: &Context<'_>) -> Option<(Vec<i64>, u8)> {
    if !context.op.domain.is_empty() {
        return None;
    }
    let input = |index: usize| context.input(index)?.known.as_ref();
    match context.op.op_type.as_str() {
        "Shape" if !context.op.attributes.contains_key("start") && !context.op.attributes.contains_key("end") => {
            let values: Vec<i64> = context.shape(0)?.iter().map(dim_value).collect::<Option<_>>()?;
            (!values.is_empty()).then_some((values, 1))
        }
        "Size" => Some((vec![input(0)?.0.iter().try_fold(1i64, |a, b| a.checked_mul(*b))?], 0)),
        "Cast" | "Identity" => input(0).cloned(),
        "Gather" => {
            let (values, _) = input(0)?;
            let tensor = context.net.constant(context.op.input(1)?)?;
            let indices = super::super::content::ints(tensor)?;
            let rank = u8::try_from(tensor.dims.len()).ok().filter(|rank| *rank <= 1)?;
            let pick = |index: &i64| values.get(super::axis_from_front(*index, values.len())?).copied();
            Some((indices.iter().map(pick).collect::<Option<_>>()?, rank))
        }
        "Squeeze" => {
            let (values, _) = input(0)?;
            (values.len() == 1).then(|| (values.clone(), 0))
        }
        "Unsqueeze" => match input(0)? {
            (values, 0) => Some((values.clone(), 1)),
            _ => None,
        },
        "Concat" => {
            let parts: Option<Vec<_>> = (0..context.op.inputs.len()).map(input).collect();
            Some((parts?.into_iter().flat_map(|(values, _)| values.iter().copied()).collect(), 1))
        }
        "Add" | "Sub" | "Mul" | "Div" => {
            let ((left, left_rank), (right, right_rank)) = (input(0)?, input(1)?);
            let ([left], [right]) = (left.as_slice(), right.as_slice()) else { return None };
            let value = match context.op.op_type.as_str() {
                "Add" => left.checked_add(*right),
                "Sub" => left.checked_sub(*right),
                "Mul" => left.checked_mul(*right),
                _ => left.checked_div(*right),
            };
            Some((vec![value?], *left_rank.max(right_rank)))
        }
        _ => None,
    }
}
