//! Resizing: where every output coordinate comes from, and the weights of antialiasing.
//!
//! `tensor/upsample.cc`, `resize_impl.cu:CalcResizeBufferSize`, `resize_antialias_impl.cu` (ORT 1.30-dev).

use super::{Call, Piece, after_outputs, product, sum};

pub(super) fn resize(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let crops = call.node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize";
    if output.n_elements()? == 0 || input.dims == output.dims && !crops {
        return Some(after_outputs(call.node, []));
    }
    let mode = call.node.text("mode", "nearest");
    if call.node.int("antialias", 0) != 0 && mode != "nearest" {
        return Some(after_outputs(call.node, antialiased(call, mode)?));
    }
    let rank = output.dims.len();
    let last = |n: usize| sum(&output.dims[rank.saturating_sub(n)..]);
    let bytes = match mode {
        "linear" => product(&[last(if rank == 3 || rank == 5 { 3 } else { 2 })?, 12])?,
        "cubic" => product(&[last(2)?, 24])?,
        _ => product(&[sum(&output.dims)?, 8])?.checked_add(8 * rank as u64)?,
    };
    Some(after_outputs(call.node, [Piece::exact("coordinate mapping", bytes)]))
}

/// Bounds and weights of every output row and column; whole numbers go through an image between.
fn antialiased(call: &Call<'_>, mode: &str) -> Option<Vec<Piece>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let rank = output.dims.len();
    let n_spatial = if rank == 3 || rank == 5 { 3 } else { 2 };
    let (from, to) = (input.dims.get(rank.checked_sub(n_spatial)?..)?, &output.dims[rank - n_spatial..]);
    let n_coordinates = sum(to)?;
    let support = if mode == "cubic" { 2.0 } else { 1.0 };
    let n_weights = from.iter().zip(to).try_fold(0_u64, |total, (&from, &to)| {
        let shrink = (from as f64 / to.max(1) as f64).max(1.0);
        let window = (support * shrink).ceil() as u64 * 2 + 1;
        total.checked_add(to.checked_mul(window)?)
    })?;
    let is_whole = input.element_bytes() == 1 || input.element == onnxfit_onnx::DataType::Int32;
    let between = product(&input.dims[..rank - 1])?.checked_mul(*output.dims.last()?)?;
    let mut scratch = vec![
        Piece::exact("bounds", n_coordinates.checked_mul(16)?),
        Piece::exact("coordinates out of bounds", n_coordinates.checked_mul(8)?),
        Piece::exact("weights", n_weights.checked_mul(4)?),
    ];
    if is_whole || n_spatial == 3 {
        let bytes = between.checked_mul(input.element_bytes())?;
        scratch.push(Piece::between("image between passes", bytes, bytes, bytes.checked_mul(2)?));
    }
    Some(scratch)
}
