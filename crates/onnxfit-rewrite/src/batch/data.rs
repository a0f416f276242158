//! Element by element, products and reductions.

use onnxfit_graph::families::{ELEMENTWISE, REDUCTIONS};
use onnxfit_shape::Expr;

use super::rules::{Table, position};
use super::{Rows, View};

pub(super) const RULES: Table = &[
    (ELEMENTWISE, elementwise),
    (
        &[
            "BiasGelu",
            "DequantizeLinear",
            "FastGelu",
            "QLinearAdd",
            "QLinearLeakyRelu",
            "QLinearMul",
            "QLinearSigmoid",
            "QuantizeLinear",
            "QuickGelu",
        ],
        elementwise,
    ),
    (&["MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "MatMulNBits"], matmul),
    (&["Gemm", "FusedGemm", "QGemm"], gemm),
    (REDUCTIONS, reduce),
    (&["ArgMax", "ArgMin"], arg_extremum),
    (&["CumSum", "TopK", "LpNormalization"], along_axis),
    (&["Softmax", "LogSoftmax", "Hardmax"], softmax),
    (&["Einsum"], einsum),
];

/// Broadcasting: operands with rows agree on the output's axis, all others have no size there.
fn elementwise(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let rank = view.out_shape(0)?.len();
    let axis = broadcast_axis(view, 0..view.node.inputs.len(), rank, 0)?;
    Ok(view.every_output(axis.map_or(Rows::None, Rows::Axis)))
}

/// The output's axis of the rows of some operands, which are aligned at the right but for their
/// last `n_own` axes.
fn broadcast_axis(
    view: &View<'_>,
    inputs: impl Iterator<Item = usize> + Clone,
    rank: usize,
    n_own: usize,
) -> Result<Option<usize>, String> {
    let mut found: Option<usize> = None;
    for input in inputs.clone() {
        match view.rows(input) {
            Rows::Axis(axis) => {
                let own = view.shape(input)?.len();
                let at = axis + rank.checked_sub(own).ok_or("broadcasts to a lower rank")?;
                if found.is_some_and(|found| found != at) {
                    return Err("lines rows up with another axis".to_owned());
                }
                found = Some(at);
            }
            Rows::None => {}
            _ => return Err("computes with the number of rows".to_owned()),
        }
    }
    let Some(at) = found else { return Ok(None) };
    for input in inputs {
        let has_own_size = view.rows(input) == Rows::None && view.node.input(input).is_some() && {
            let shape = view.shape(input)?;
            let own = (at + shape.len()).checked_sub(rank);
            own.is_some_and(|own| own + n_own < shape.len() + n_own && !shape[own].is(1))
        };
        if has_own_size {
            return Err("pairs each row with a number of its own".to_owned());
        }
    }
    Ok(Some(at))
}

fn matmul(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let out_rank = view.out_shape(0)?.len();
    let (left, right) = match view.node.op_type.as_str() {
        "QLinearMatMul" => (0, 3),
        _ => (0, 1),
    };
    let packed = view.node.op_type == "MatMulNBits";
    let (a, b) = (view.axis(left), view.axis(right));
    if (0..view.node.inputs.len()).any(|input| input != left && input != right && view.rows(input) != Rows::None) {
        return Err("scales rows by numbers that rows decide".to_owned());
    }
    if view.rows(left) == Rows::Count || view.rows(right) == Rows::Count {
        return Err("computes with the number of rows".to_owned());
    }
    let a_rank = view.shape(left)?.len();
    let b_rank = if packed { 2 } else { view.shape(right)?.len() };
    let swapped = |name: &str| view.node.int(name).unwrap_or(0) != 0;
    let a_sum = if swapped("transA") { a_rank.checked_sub(2) } else { a_rank.checked_sub(1) };
    let b_sum = if swapped("transB") { b_rank.checked_sub(1) } else { b_rank.checked_sub(2).or(Some(0)) };
    if a.is_some() && a == a_sum || b.is_some() && b == b_sum {
        return Err("sums over the rows".to_owned());
    }
    // A vector's only axis is the sum's, so what is left is aligned at the right.
    let place = |axis: usize, rank: usize| {
        let is_matrix_axis = axis + 2 >= rank;
        (axis + out_rank.saturating_sub(rank), is_matrix_axis)
    };
    let rows = match (a, b) {
        (None, None) => Rows::None,
        (Some(axis), None) => {
            let (at, is_matrix_axis) = place(axis, a_rank);
            if !is_matrix_axis && !packed && shadows(view.shape(right)?, at, out_rank) {
                return Err("pairs each row with a matrix of its own".to_owned());
            }
            Rows::Axis(if is_matrix_axis && swapped("transA") { out_rank - 2 } else { at.min(out_rank - 1) })
        }
        (None, Some(axis)) => {
            let (at, is_matrix_axis) = place(axis, b_rank);
            if !is_matrix_axis && shadows(view.shape(left)?, at, out_rank) {
                return Err("pairs each row with a matrix of its own".to_owned());
            }
            Rows::Axis(if is_matrix_axis { out_rank - 1 } else { at })
        }
        (Some(left_axis), Some(right_axis)) => {
            let (left_at, left_matrix) = place(left_axis, a_rank);
            let (right_at, right_matrix) = place(right_axis, b_rank);
            if left_matrix || right_matrix || left_at != right_at {
                return Err("multiplies rows with rows".to_owned());
            }
            Rows::Axis(left_at)
        }
    };
    Ok(vec![rows])
}

/// Whether a value without rows has a size of its own at an output axis.
fn shadows(shape: &[Expr], at: usize, out_rank: usize) -> bool {
    (at + shape.len()).checked_sub(out_rank).is_some_and(|own| !shape[own].is(1))
}

fn gemm(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let row_of_a = usize::from(view.node.int("transA").unwrap_or(0) != 0);
    if view.axis(0) != Some(row_of_a) || view.rows(1) != Rows::None {
        return Err("sums over the rows, or multiplies by them".to_owned());
    }
    match view.rows(2) {
        Rows::Axis(0) if view.shape(2)?.len() == 2 => {}
        Rows::None => {
            if view.node.input(2).is_some() && shadows(view.shape(2)?, 0, 2) {
                return Err("adds to each row a number of its own".to_owned());
            }
        }
        _ => return Err("adds another axis to the rows".to_owned()),
    }
    Ok(view.every_output(Rows::Axis(0)))
}

/// The axes of a reduction: an attribute before opset 18 (13 for ReduceSum), an input since.
fn reduced_axes(view: &View<'_>, rank: usize) -> Result<Vec<usize>, String> {
    let axes = match (view.node.ints("axes"), view.node.input(1)) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(_)) => view.ints(1).ok_or("reduces over axes that are not known")?,
        (None, None) => Vec::new(),
    };
    if axes.is_empty() {
        let keeps_all = view.node.int("noop_with_empty_axes").unwrap_or(0) != 0;
        return Ok(if keeps_all { Vec::new() } else { (0..rank).collect() });
    }
    axes.into_iter().map(|axis| position(axis, rank).ok_or_else(|| format!("reduces over axis {axis}"))).collect()
}

fn reduce(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("computes with the number of rows")?;
    let axes = reduced_axes(view, view.shape(0)?.len())?;
    if axes.contains(&axis) {
        return Err("reduces over the rows".to_owned());
    }
    let kept = view.node.int("keepdims").unwrap_or(1) != 0;
    let n_gone = if kept { 0 } else { axes.iter().filter(|reduced| **reduced < axis).count() };
    Ok(vec![Rows::Axis(axis - n_gone)])
}

fn arg_extremum(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("computes with the number of rows")?;
    let reduced = position(view.node.int("axis").unwrap_or(0), view.shape(0)?.len()).ok_or("has no such axis")?;
    if reduced == axis {
        return Err("compares rows".to_owned());
    }
    let kept = view.node.int("keepdims").unwrap_or(1) != 0;
    Ok(vec![Rows::Axis(axis - usize::from(!kept && reduced < axis))])
}

fn along_axis(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("computes with the number of rows")?;
    let rank = view.shape(0)?.len();
    let along = match view.node.op_type.as_str() {
        "CumSum" => {
            view.ints(1).and_then(|axes| axes.first().copied()).ok_or("runs along an axis that is not known")?
        }
        _ => view.node.int("axis").unwrap_or(-1),
    };
    if position(along, rank) == Some(axis) || view.rows(1) != Rows::None {
        return Err("runs along the rows".to_owned());
    }
    Ok(view.every_output(Rows::Axis(axis)))
}

/// Before opset 13 everything from the axis on is one vector.
fn softmax(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let axis = view.axis(0).ok_or("computes with the number of rows")?;
    let rank = view.shape(0)?.len();
    let old = view.walk.opset < 13;
    let along = position(view.node.int("axis").unwrap_or(if old { 1 } else { -1 }), rank).ok_or("has no such axis")?;
    if (old && along <= axis) || along == axis {
        return Err("normalizes over the rows".to_owned());
    }
    Ok(vec![Rows::Axis(axis)])
}

fn einsum(view: &View<'_>) -> Result<Vec<Rows>, String> {
    let equation: String = view.node.string("equation").unwrap_or("").chars().filter(|c| !c.is_whitespace()).collect();
    let (operands, output) = equation.split_once("->").ok_or("has an equation without an output")?;
    let mut letter: Option<char> = None;
    for (input, term) in operands.split(',').enumerate() {
        if let Some(axis) = view.axis(input) {
            let here =
                term.chars().nth(axis).filter(|c| c.is_alphabetic()).ok_or("has an equation with an ellipsis")?;
            if letter.is_some_and(|letter| letter != here) {
                return Err("multiplies rows with rows".to_owned());
            }
            letter = Some(here);
        }
    }
    let letter = letter.ok_or("computes with the number of rows")?;
    for (input, term) in operands.split(',').enumerate() {
        if view.axis(input).is_none() && term.contains(letter) {
            return Err("pairs each row with a number of its own".to_owned());
        }
    }
    let axis = output.chars().position(|c| c == letter).ok_or("sums over the rows")?;
    Ok(vec![Rows::Axis(axis)])
}
