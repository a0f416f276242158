//! Rows that are called by their number: `Range` over the batch, and what is looked up with it.
//!
//! In a piece the numbers begin again at zero, and so do the rows of what they are looked up in: row
//! 3 of the second piece is its own row 3. So numbers may only be used to find rows that were cut
//! the same way; whatever computes with them otherwise mixes.

use onnxfit_shape::{Expr, Scalar, Value};

use super::layout::reshaped_axis;
use super::rules::{Table, position};
use super::{Rows, View};

/// What operators make of values that are row numbers; all others may not read them.
pub(super) const RULES: Table = &[
    (&["Range"], range),
    (&["Cast", "Identity"], same),
    (&["Reshape", "Squeeze", "Unsqueeze"], reshape),
    (&["Expand"], expand),
    (&["Concat"], concat),
    (&["GatherND"], gather_nd),
    (&["ScatterND"], scatter_nd),
];

/// From nothing to the batch, one by one.
fn range(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let number = |input: usize| -> Option<Expr> {
        match view.fact_of(view.node.input(input)?).value.as_ref()? {
            Value::Elements(elements) => match elements.as_ref() {
                [Some(Scalar::Int(expr))] => Some(expr.clone()),
                _ => None,
            },
            Value::Uniform(Scalar::Int(expr)) => Some(expr.clone()),
            Value::Uniform(_) => None,
        }
    };
    let counts_rows = number(0).is_some_and(|first| first.is(0))
        && number(1).is_some_and(|end| end == *view.walk.batch)
        && number(2).is_some_and(|step| step.is(1));
    if counts_rows {
        Ok(vec![Rows::Number(0)])
    } else {
        Err("counts further than the rows, or not one by one".to_owned())
    }
}

fn number_axis(view: &View<'_>, input: usize) -> Result<usize, String> {
    match view.rows(input) {
        Rows::Number(axis) => Ok(axis),
        _ => Err("computes with the numbers of rows".to_owned()),
    }
}

fn same(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = number_axis(view, 0)?;
    // A narrow type would fold numbers onto each other.
    if view.node.op_type == "Cast" && !matches!(view.node.int("to"), Some(6 | 7)) {
        return Err("turns row numbers into a type that may not hold them".to_owned());
    }
    Ok(vec![Rows::Number(axis)])
}

fn reshape(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = number_axis(view, 0)?;
    let at = reshaped_axis(view, axis)?;
    // One number for each row and not several.
    if view.out_shape(0)?[at] != *view.walk.batch {
        return Err("folds row numbers into another axis".to_owned());
    }
    Ok(vec![Rows::Number(at)])
}

fn expand(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = number_axis(view, 0)?;
    let (out, own) = (view.out_shape(0)?, view.shape(0)?);
    let at = axis + out.len().checked_sub(own.len()).ok_or("expands to a lower rank")?;
    if out[at] != own[axis] {
        return Err("repeats row numbers".to_owned());
    }
    Ok(vec![Rows::Number(at)])
}

/// Row numbers beside other indices: tuples of which one element is the row.
fn concat(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let rank = view.out_shape(0)?.len();
    let along = position(view.node.int("axis").unwrap_or(0), rank).ok_or("has no such axis")?;
    if along + 1 != rank {
        return Err("joins row numbers with other values".to_owned());
    }
    let (mut found, mut before) = (None, 0);
    for input in 0..view.node.inputs.len() {
        let size = view.shape(input)?[along].as_constant().ok_or("joins tuples of unknown size")?;
        match view.rows(input) {
            Rows::Number(axis) if axis != along && size == 1 && found.is_none() => {
                found = Some((axis, usize::try_from(before).map_err(|_| "joins too much")?));
            }
            Rows::Axis(axis) if axis != along => {}
            Rows::None => {}
            _ => return Err("joins row numbers with row numbers".to_owned()),
        }
        before += size;
    }
    let (axis, element) = found.ok_or("joins no row numbers")?;
    let aligned = |input: usize| !matches!(view.rows(input), Rows::Axis(other) if other != axis);
    // What has no rows would have to have the batch's size to be joined with what has.
    let sized = |input: usize| view.rows(input) != Rows::None;
    if !(0..view.node.inputs.len()).all(|input| aligned(input) && sized(input)) {
        return Err("joins row numbers with values that have other rows".to_owned());
    }
    Ok(vec![Rows::Tuples { axis, element }])
}

/// The axis of tuples that name rows of the first axis of what they are looked up in.
fn tuples_axis(view: &View<'_>) -> Result<usize, String> {
    match (view.rows(0), view.rows(1)) {
        (Rows::Axis(0), Rows::Tuples { axis, element: 0 }) if view.shape(0)?[0] == *view.walk.batch => Ok(axis),
        _ => Err("picks rows by number".to_owned()),
    }
}

fn gather_nd(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = tuples_axis(view)?;
    if view.node.int("batch_dims").unwrap_or(0) != 0 {
        return Err("picks rows by number".to_owned());
    }
    Ok(vec![Rows::Axis(axis)])
}

fn scatter_nd(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = tuples_axis(view)?;
    if view.rows(2) != Rows::Axis(axis) {
        return Err("writes to rows what does not belong to them".to_owned());
    }
    Ok(vec![Rows::Axis(0)])
}
