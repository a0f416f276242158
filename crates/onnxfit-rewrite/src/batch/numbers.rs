//! Rows that are called by their number: `Range` over the batch, and what is looked up with it.
//!
//! In a piece the numbers begin again at zero, and so do the rows of what they are looked up in: row
//! 3 of the second piece is its own row 3. So numbers may only be used to find rows that were cut
//! the same way; whatever computes with them otherwise mixes. Rows that lie one behind the other have
//! their elements numbered on: the number of the row times how many elements a row has, and a number
//! below that which is the row's own, such as the place of its greatest element.

use onnxfit_graph::ValueId;
use onnxfit_shape::{Expr, Scalar, Value};

use super::layout::reshaped_axis;
use super::rules::{Table, position};
use super::{Rows, View, Walk};

/// What operators make of values that are row numbers; all others may not read them.
pub(super) const RULES: Table = &[
    (&["Range"], range),
    (&["Cast", "Identity"], same),
    (&["Reshape", "Squeeze", "Unsqueeze", "Flatten"], reshape),
    (&["Mul"], first_element),
    (&["Add"], chosen_element),
    (&["Gather"], gather_elements_of_rows),
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

/// Numbers of rows or of their elements, which stay that when they are moved: the axis, and what they
/// become at another.
fn moved(view: &View<'_>, input: usize) -> Result<(usize, impl Fn(usize) -> Rows + use<>), String> {
    let rows = view.rows(input);
    let axis = match rows {
        Rows::Element { axis, .. } => axis,
        _ => number_axis(view, input)?,
    };
    let at = move |axis| match rows {
        Rows::Element { stride, is_chosen, .. } => Rows::Element { axis, stride, is_chosen },
        _ => Rows::Number(axis),
    };
    Ok((axis, at))
}

/// The first element of each row: its number times how many elements a row has.
fn first_element(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let refusal = || "computes with the numbers of rows".to_owned();
    let numbers = usize::from(!matches!(view.rows(0), Rows::Number(_)));
    let axis = number_axis(view, numbers)?;
    let other = view.node.input(1 - numbers).filter(|_| view.rows(1 - numbers) == Rows::None).ok_or_else(refusal)?;
    let other = view.fact_of(other);
    let stride = match (other.shape.as_deref(), other.value.as_ref()) {
        // One number for all rows and not one for each.
        (Some(shape), Some(value)) if shape.iter().all(|dim| dim.is(1)) => match value {
            Value::Uniform(Scalar::Int(stride)) => stride.clone(),
            Value::Elements(elements) => match elements.as_ref() {
                [Some(Scalar::Int(stride))] => stride.clone(),
                _ => return Err(refusal()),
            },
            Value::Uniform(_) => return Err(refusal()),
        },
        _ => return Err(refusal()),
    };
    let at = (axis + view.out_shape(0)?.len()).checked_sub(view.shape(numbers)?.len()).ok_or_else(refusal)?;
    let mut strides = view.walk.strides.borrow_mut();
    strides.push(stride);
    Ok(vec![Rows::Element { axis: at, stride: strides.len() - 1, is_chosen: false }])
}

/// One element of each row: its first, and a number of the row's own that is less than a row has.
fn chosen_element(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let refusal = || "computes with the numbers of rows".to_owned();
    let firsts = usize::from(!matches!(view.rows(0), Rows::Element { .. }));
    let (Rows::Element { axis, stride, is_chosen: false }, Rows::Axis(own)) =
        (view.rows(firsts), view.rows(1 - firsts))
    else {
        return Err(refusal());
    };
    let rank = view.out_shape(0)?.len();
    let place = |axis: usize, input: usize| Ok::<_, String>((axis + rank).checked_sub(view.shape(input)?.len()));
    let at = place(axis, firsts)?.ok_or_else(refusal)?;
    if place(own, 1 - firsts)? != Some(at) {
        return Err("lines rows up with another axis".to_owned());
    }
    let value = view.node.input(1 - firsts).ok_or_else(refusal)?;
    if view.walk.places_below(value).as_ref() != view.walk.strides.borrow().get(stride) {
        return Err("adds to the numbers of rows what may lead to another row".to_owned());
    }
    Ok(vec![Rows::Element { axis: at, stride, is_chosen: true }])
}

/// Elements of rows that lie one behind the other, by their number.
fn gather_elements_of_rows(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let refusal = || "picks rows by number".to_owned();
    let (Rows::Axis(0), Rows::Element { axis, stride, .. }) = (view.rows(0), view.rows(1)) else {
        return Err(refusal());
    };
    let all = view.walk.strides.borrow().get(stride).and_then(|stride| view.walk.batch.mul(stride));
    let shape = view.shape(0)?;
    let along = position(view.node.int("axis").unwrap_or(0), shape.len());
    if along != Some(0) || all.is_none() || all.as_ref() != shape.first() {
        return Err(refusal());
    }
    Ok(vec![Rows::Axis(axis)])
}

impl Walk<'_> {
    /// A number that all of a value are below, and none below zero: places along an axis.
    fn places_below(&self, value: ValueId) -> Option<Expr> {
        let node = self.graph.node(self.graph.value(value).producer?.0);
        match node.op_type.as_str() {
            "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => self.places_below(node.input(0)?),
            // A narrow type would fold places onto each other.
            "Cast" if matches!(node.int("to"), Some(6 | 7)) => self.places_below(node.input(0)?),
            "ArgMax" | "ArgMin" if node.domain.is_empty() => {
                let shape = self.facts.fact(node.input(0)?).shape.as_deref()?;
                shape.get(position(node.int("axis").unwrap_or(0), shape.len())?).cloned()
            }
            _ => None,
        }
    }
}

fn same(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let (axis, at) = moved(view, 0)?;
    // A narrow type would fold numbers onto each other.
    if view.node.op_type == "Cast" && !matches!(view.node.int("to"), Some(6 | 7)) {
        return Err("turns row numbers into a type that may not hold them".to_owned());
    }
    Ok(vec![at(axis)])
}

fn reshape(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let (axis, at) = moved(view, 0)?;
    let new = reshaped_axis(view, axis)?;
    // One number for each row and not several.
    if view.out_shape(0)?[new] != *view.walk.batch {
        return Err("folds row numbers into another axis".to_owned());
    }
    Ok(vec![at(new)])
}

fn expand(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let (axis, place) = moved(view, 0)?;
    let (out, own) = (view.out_shape(0)?, view.shape(0)?);
    let at = axis + out.len().checked_sub(own.len()).ok_or("expands to a lower rank")?;
    if out[at] != own[axis] {
        return Err("repeats row numbers".to_owned());
    }
    Ok(vec![place(at)])
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
