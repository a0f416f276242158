//! Reductions: a matrix reduction of ONNX Runtime's own where the axes allow it, else cuDNN.
//!
//! `reduction/reduction_ops.cc`, `reduction_functions.{cc,cu}` (ORT 1.30-dev). cuDNN's workspace is not
//! documented: it holds partial results, so 0 is low, one accumulator for every result is expected
//! and one for every element read is high.

use onnxfit_onnx::DataType;

use super::{Call, Piece, after_outputs, axis_of, product};

/// What an operator does around the sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sums and means, and the logarithm of a sum.
    Sum,
    /// Squares first.
    Square,
    /// Exponentials first, which only cuDNN does.
    LogSumExp,
    /// Maxima, minima, products, norms: always cuDNN.
    Other,
}

pub(super) fn sum(call: &Call<'_>) -> Option<Vec<Piece>> {
    // `reduce_sum_nd` handles integers without scratch.
    if matches!(call.input(0)?.element, DataType::Int32 | DataType::Int64) {
        return Some(after_outputs(call.node, []));
    }
    reduce(call, Kind::Sum)
}

pub(super) fn mean(call: &Call<'_>) -> Option<Vec<Piece>> {
    reduce(call, Kind::Sum)
}

pub(super) fn log_sum(call: &Call<'_>) -> Option<Vec<Piece>> {
    reduce(call, Kind::Sum)
}

pub(super) fn sum_square(call: &Call<'_>) -> Option<Vec<Piece>> {
    reduce(call, Kind::Square)
}

pub(super) fn log_sum_exp(call: &Call<'_>) -> Option<Vec<Piece>> {
    reduce(call, Kind::LogSumExp)
}

pub(super) fn general(call: &Call<'_>) -> Option<Vec<Piece>> {
    reduce(call, Kind::Other)
}

fn reduce(call: &Call<'_>, kind: Kind) -> Option<Vec<Piece>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let (n_inputs, n_outputs) = (input.n_elements()?, output.n_elements()?);
    if n_inputs == 0 || input.dims == output.dims && call.node.int("noop_with_empty_axes", 0) != 0 {
        return Some(after_outputs(call.node, []));
    }
    let element_bytes = input.element_bytes();
    if matches!(input.element, DataType::Int8 | DataType::Uint8 | DataType::Int32 | DataType::Int64) {
        return Some(after_outputs(call.node, integers(n_inputs, n_outputs)?));
    }
    let squares = (kind == Kind::Square).then(|| product(&[n_inputs, element_bytes])).flatten();
    let squares = squares.map(|bytes| Piece::exact("squares", bytes));
    let matrix = matches!(kind, Kind::Sum | Kind::Square).then(|| matrix(&input.dims, &axes(call)?)).flatten();
    if let Some(matrix) = matrix {
        let partials = match matrix {
            Matrix::Rows => None,
            Matrix::Columns { rows, columns } => {
                Some(Piece::exact("partial sums", columns_bytes(rows, columns, element_bytes.max(4))?))
            }
        };
        return Some(after_outputs(call.node, squares.into_iter().chain(partials)));
    }
    let is_cast = input.element == DataType::Bfloat16;
    let mut scratch = Vec::new();
    if is_cast {
        scratch.push(Piece::exact("input as float", n_inputs.checked_mul(4)?));
    }
    scratch.push(workspace(n_inputs, n_outputs, element_bytes.max(4))?);
    scratch.extend(squares);
    if kind == Kind::LogSumExp {
        scratch.push(Piece::exact("exponentials", product(&[n_inputs, element_bytes])?));
        scratch.push(Piece::exact("logarithms", product(&[n_outputs, element_bytes])?));
    }
    if is_cast && n_inputs != n_outputs {
        scratch.push(Piece::exact("output as float", n_outputs.checked_mul(4)?));
    }
    Some(after_outputs(call.node, scratch))
}

/// Integers are summed up as doubles.
fn integers(n_inputs: u64, n_outputs: u64) -> Option<Vec<Piece>> {
    if n_inputs == n_outputs {
        return Some(Vec::new());
    }
    Some(vec![
        Piece::exact("input as double", n_inputs.checked_mul(8)?),
        workspace(n_inputs, n_outputs, 8)?,
        Piece::exact("output as double", n_outputs.checked_mul(8)?),
    ])
}

fn workspace(n_inputs: u64, n_outputs: u64, accumulator_bytes: u64) -> Option<Piece> {
    let expected = n_outputs.checked_mul(accumulator_bytes)?;
    Some(Piece::between("cuDNN reduction", 0, expected, n_inputs.checked_mul(accumulator_bytes)?))
}

/// Indices of extreme values: partial results along the last axis, cuDNN along others.
pub(super) fn arg(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let (n_inputs, n_outputs) = (input.n_elements()?, output.n_elements()?);
    let axis = axis_of(call.node.int("axis", 0), input.dims.len())?;
    let element_bytes = input.element_bytes();
    if axis + 1 == input.dims.len() {
        // As many blocks a row as keep four elements a thread and the card busy: none for rows
        // shorter than 128, at most one for every 128 elements.
        let columns = input.dims[axis];
        let partials = if columns < 128 { 0 } else { n_outputs.checked_mul(columns.div_ceil(128))? };
        let bytes = partials.checked_mul(element_bytes + 4)?;
        let high = if bytes == 0 { 0 } else { bytes.checked_add(n_outputs.checked_mul(4)?)?.checked_add(18)? };
        return Some(after_outputs(call.node, [Piece::between("partial results", 0, high / 8, high)]));
    }
    let is_half = input.element == DataType::Float16;
    let mut scratch = Vec::new();
    if is_half {
        scratch.push(Piece::exact("input as float", n_inputs.checked_mul(4)?));
    }
    scratch.push(workspace(n_inputs, n_outputs, element_bytes.max(4))?);
    scratch.push(Piece::exact("indices", n_outputs.checked_mul(4)?));
    if n_inputs != n_outputs {
        scratch.push(Piece::exact("extreme values", n_outputs.checked_mul(if is_half { 4 } else { element_bytes })?));
    }
    Some(after_outputs(call.node, scratch))
}

/// The axes: from the attribute, from a weight, or, where dimensions are kept, from the shapes.
fn axes(call: &Call<'_>) -> Option<Vec<usize>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let rank = input.dims.len();
    let given = match call.integers(1) {
        Some(axes) => axes,
        None if call.node.input(1).is_some() => {
            return (output.dims.len() == rank)
                .then(|| (0..rank).filter(|&i| input.dims[i] != output.dims[i]).collect());
        }
        None => call.node.ints("axes").to_vec(),
    };
    if given.is_empty() {
        return Some((0..rank).collect());
    }
    given.into_iter().map(|axis| axis_of(axis, rank)).collect()
}

/// A reduction as one of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matrix {
    /// Leading axes go: nothing is needed.
    Rows,
    /// Trailing axes go.
    Columns { rows: u64, columns: u64 },
}

/// `get_applicable_matrix_reduction`: the axes, ones left out, are a block at the front or the end.
fn matrix(dims: &[u64], axes: &[usize]) -> Option<Matrix> {
    let kept: Vec<(u64, bool)> =
        dims.iter().enumerate().filter(|(_, dim)| **dim != 1).map(|(i, dim)| (*dim, axes.contains(&i))).collect();
    if kept.is_empty() {
        return Some(Matrix::Rows);
    }
    let reduced: Vec<usize> = (0..kept.len()).filter(|&i| kept[i].1).collect();
    let size = |part: &[(u64, bool)]| part.iter().try_fold(1_u64, |size, (dim, _)| size.checked_mul(*dim));
    let (Some(&first), Some(&last)) = (reduced.first(), reduced.last()) else {
        // Only ones are reduced: as if a last dimension of one were.
        return Some(Matrix::Columns { rows: size(&kept)?, columns: 1 });
    };
    if last - first + 1 != reduced.len() {
        return None;
    }
    match (first, last + 1 == kept.len()) {
        (0, _) => Some(Matrix::Rows),
        (_, true) => Some(Matrix::Columns { rows: size(&kept[..first])?, columns: size(&kept[first..])? }),
        _ => None,
    }
    .filter(|matrix| match *matrix {
        Matrix::Rows => true,
        Matrix::Columns { rows, columns } => rows <= i32::MAX as u64 && columns <= i32::MAX as u64,
    })
}

/// One partial sum a block of a row, a counter a row, and room to align.
fn columns_bytes(rows: u64, columns: u64, accumulator_bytes: u64) -> Option<u64> {
    let warps = (columns / 128).clamp(1, 8);
    let blocks = (columns / (128 * warps)).clamp(1, 256);
    product(&[rows, blocks, accumulator_bytes])?
        .checked_next_multiple_of(4)?
        .checked_add(rows.checked_mul(4)?)?
        .checked_add(15)
}
