//! Moving elements about: reshapes, joins, cuts, lookups.

use onnxfit_shape::Expr;

use super::rules::{Table, position};
use super::{Rows, View, counts};

pub(super) const RULES: Table = &[
    (&["Reshape", "Flatten", "Squeeze", "Unsqueeze"], reshape),
    (&["Transpose"], transpose),
    (&["Concat"], concat),
    (&["Tile"], tile),
    (&["Split", "Slice", "Pad", "ReverseSequence", "Trilu", "DepthToSpace", "SpaceToDepth"], other_axes),
    (&["Expand"], expand),
    (&["ConstantOfShape"], filled),
    (&["Gather"], gather),
    (&["GatherElements", "ScatterElements"], gather_elements),
    (&["GatherND"], gather_nd),
    (&["OneHot"], one_hot),
    (&["Shape", "Size"], shape_of),
];

/// The rows begin at the same multiple of elements before and after.
fn reshape(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("gives a counted value another shape")?;
    Ok(vec![Rows::Axis(reshaped_axis(view, axis)?)])
}

/// Where the rows of an axis are when the same elements have another shape.
pub(super) fn reshaped_axis(view: &View<'_>, axis: usize) -> Result<usize, String> {
    let before = Expr::product(&view.shape(0)?[..axis]).ok_or("has a shape that is too complex to follow")?;
    let shape = view.out_shape(0)?;
    let mut product = Expr::constant(1);
    for (at, dim) in shape.iter().enumerate() {
        if product == before && counts(view.walk.batch, dim) {
            return Ok(at);
        }
        product = product.mul(dim).ok_or("has a shape that is too complex to follow")?;
    }
    Err("folds the rows into another axis".to_owned())
}

fn transpose(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("turns a counted value")?;
    let rank = view.shape(0)?.len();
    let at = match view.node.ints("perm") {
        None => rank.checked_sub(axis + 1),
        Some(perm) => perm.iter().position(|from| position(*from, rank) == Some(axis)),
    };
    Ok(vec![Rows::Axis(at.ok_or("has a permutation that loses the rows")?)])
}

fn concat(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let rank = view.out_shape(0)?.len();
    let along = position(view.node.int("axis").unwrap_or(0), rank).ok_or("has no such axis")?;
    let mut found = None;
    for input in 0..view.node.inputs.len() {
        match view.rows(input) {
            Rows::Axis(axis) if axis != along && found.is_none_or(|found| found == axis) => found = Some(axis),
            Rows::Axis(_) => return Err("joins rows with other values".to_owned()),
            _ => return Err("joins rows with values that have none".to_owned()),
        }
    }
    Ok(vec![Rows::Axis(found.ok_or("joins nothing")?)])
}

/// Operators that work along named axes; along the rows every output must keep the whole size.
fn other_axes(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("cuts a counted value")?;
    let size = view.shape(0)?.get(axis).ok_or("has no such axis")?.clone();
    for output in 0..view.node.outputs.len() {
        if view.node.output(output).is_some() && view.out_shape(output)?.get(axis) != Some(&size) {
            return Err("cuts or repeats the rows".to_owned());
        }
    }
    let turns_rows = match view.node.op_type.as_str() {
        "Slice" => steps_back(view, axis)?,
        "ReverseSequence" => view.node.int("time_axis").unwrap_or(0) == axis as i64,
        "Trilu" => axis + 2 >= view.shape(0)?.len(),
        "DepthToSpace" | "SpaceToDepth" => axis != 0,
        "Pad" => (1..view.node.inputs.len()).any(|input| view.axis(input).is_some()),
        _ => false,
    };
    if turns_rows {
        return Err("changes the order of the rows, or treats them by their number".to_owned());
    }
    Ok(view.every_output(Rows::Axis(axis)))
}

/// What has no rows and is repeated for each: its size along that axis is a period that every row
/// holds whole.
fn tile(view: &View<'_>) -> Result<Vec<Rows>, String> {
    if view.rows(0) != Rows::None {
        return other_axes(view);
    }
    let (own, out) = (view.shape(0)?, view.sized_by_request(0)?);
    let Some(at) = out.iter().position(|dim| counts(view.walk.batch, dim)) else { return Ok(vec![Rows::None]) };
    let row = out[at].exact_div(view.walk.batch).ok_or("repeats a value unevenly over the rows")?;
    if own.get(at).is_none_or(|period| row.exact_div(period).is_none()) {
        return Err("pairs each row with a number of its own".to_owned());
    }
    Ok(vec![Rows::Axis(at)])
}

/// Whether a slice runs along the rows with a step other than one.
fn steps_back(view: &View<'_>, axis: usize) -> Result<bool, String> {
    let rank = view.shape(0)?.len();
    let Some(steps) = view.node.input(4).map(|_| view.ints(4).ok_or("has steps that are not known")).transpose()?
    else {
        return Ok(false);
    };
    let axes = view.ints(3).unwrap_or_else(|| (0..steps.len() as i64).collect());
    Ok(axes.iter().zip(&steps).any(|(along, step)| position(*along, rank) == Some(axis) && *step != 1))
}

fn expand(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let out = view.out_shape(0)?;
    let own = view.shape(0)?;
    let shift = out.len().checked_sub(own.len()).ok_or("expands to a lower rank")?;
    if let Some(axis) = view.axis(0) {
        return if out[axis + shift] == own[axis] {
            Ok(vec![Rows::Axis(axis + shift)])
        } else {
            Err("repeats the rows".to_owned())
        };
    }
    let out = view.sized_by_request(0)?;
    let Some(at) = out.iter().position(|dim| counts(view.walk.batch, dim)) else { return Ok(vec![Rows::None]) };
    // The same for every row: what is expanded has no size of its own there.
    match at.checked_sub(shift) {
        Some(axis) if !own[axis].is(1) => Err("pairs each row with a number of its own".to_owned()),
        _ => Ok(vec![Rows::Axis(at)]),
    }
}

fn filled(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let at = view.sized_by_request(0)?.iter().position(|dim| counts(view.walk.batch, dim));
    Ok(vec![at.map_or(Rows::None, Rows::Axis)])
}

fn gather(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let rank = view.shape(0)?.len();
    let along = position(view.node.int("axis").unwrap_or(0), rank).ok_or("has no such axis")?;
    match (view.rows(0), view.rows(1)) {
        (Rows::None, Rows::Axis(axis)) => Ok(vec![Rows::Axis(along + axis)]),
        (Rows::Axis(axis), Rows::None) if axis != along => {
            let n_index_axes = view.shape(1)?.len();
            Ok(vec![Rows::Axis(if axis < along { axis } else { axis + n_index_axes - 1 })])
        }
        _ => Err("picks rows by number".to_owned()),
    }
}

fn gather_elements(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("picks rows by number")?;
    let along = position(view.node.int("axis").unwrap_or(0), view.shape(0)?.len());
    let others_agree = (1..view.node.inputs.len()).all(|input| view.rows(input) == Rows::Axis(axis));
    if along == Some(axis) || !others_agree {
        return Err("picks rows by number".to_owned());
    }
    Ok(vec![Rows::Axis(axis)])
}

fn gather_nd(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let n_batch = usize::try_from(view.node.int("batch_dims").unwrap_or(0)).unwrap_or(0);
    match (view.rows(0), view.rows(1)) {
        (Rows::None, Rows::Axis(axis)) if n_batch == 0 && axis + 1 < view.shape(1)?.len() => Ok(vec![Rows::Axis(axis)]),
        (Rows::Axis(axis), Rows::Axis(same)) if axis == same && axis < n_batch => Ok(vec![Rows::Axis(axis)]),
        _ => Err("picks rows by number".to_owned()),
    }
}

fn one_hot(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("computes with the number of rows")?;
    if view.rows(1) != Rows::None || view.rows(2) != Rows::None {
        return Err("computes with the number of rows".to_owned());
    }
    let rank = view.out_shape(0)?.len();
    let new = position(view.node.int("axis").unwrap_or(-1), rank).ok_or("has no such axis")?;
    Ok(vec![Rows::Axis(axis + usize::from(new <= axis))])
}

/// A shape that is not known in full still says nothing but sizes.
fn shape_of(view: &View<'_>) -> Result<Vec<Rows>, String> {
    Ok(view.every_output(Rows::Count))
}
