//! Sorting: the largest values of a row, and boxes by their scores.
//!
//! `math/topk_impl.cuh`, `object_detection/non_max_suppression{.cc,_impl.cu}` (ORT 1.30-dev). The
//! temporary storage of `cub::DeviceRadixSort` is a band: it holds second copies of keys and values
//! and the histograms of its passes, whose number and size depend on the architecture.

use super::{Call, Piece, after_outputs, axis_of, product};

/// `GridDim::maxThreadsPerBlock`.
const THREADS_PER_BLOCK: u64 = 256;
/// What histograms and tile descriptors of a sort are allowed for.
const HISTOGRAMS_BYTES_MAX: u64 = 1 << 20;

pub(super) fn top_k(call: &Call<'_>) -> Option<Vec<Piece>> {
    let input = call.input(0)?;
    let axis = axis_of(call.node.int("axis", -1), input.dims.len())?;
    let (row, n_wanted) = (input.dims[axis], *call.output(0).or(call.output(1))?.dims.get(axis)?);
    let in_one_block = row.next_power_of_two() <= THREADS_PER_BLOCK;
    let by_radix = n_wanted <= THREADS_PER_BLOCK * 16 || call.node.int("sorted", 1) == 0;
    if in_one_block || by_radix {
        return Some(after_outputs(call.node, []));
    }
    let (keys, values) = (product(&[row, input.element_bytes()])?, product(&[row, 8])?);
    let scratch = [
        Piece::exact("keys", keys),
        Piece::exact("sorted keys", keys),
        Piece::exact("positions", values),
        Piece::exact("sorted positions", values),
        sort_storage(keys, values)?,
    ];
    Some(after_outputs(call.node, scratch))
}

/// One class of one image at a time; the output is asked for when all are done.
pub(super) fn non_max_suppression(call: &Call<'_>) -> Option<Vec<Piece>> {
    let n_boxes = *call.input(0)?.dims.get(1)?;
    let per_class = call.integers(2).and_then(|limit| u64::try_from(*limit.first()?).ok());
    // Without a limit nothing is selected and nothing is allocated.
    if n_boxes == 0 || call.node.input(2).is_none() || per_class == Some(0) {
        return Some(after_outputs(call.node, []));
    }
    let n_kept_max = per_class.unwrap_or(n_boxes).min(n_boxes);
    let column = n_boxes.checked_mul(4)?;
    let mut pieces = vec![
        sort_storage(column, column)?,
        Piece::exact("indices", column),
        Piece::exact("sorted indices", column),
        Piece::exact("selected indices", column),
        Piece::exact("sorted scores", column),
        Piece::exact("sorted boxes", n_boxes.checked_mul(16)?),
        Piece::exact("overlap mask", product(&[n_boxes, n_boxes.div_ceil(32), 4])?),
        Piece::exact("selected flags", n_boxes),
        Piece::exact("flagged indices", column),
        super::scan_storage(n_boxes),
        Piece::exact("count", 4),
    ];
    // `NmsGpu` gives its buffers back before the selected boxes are written down.
    pieces.extend((6..11).map(Piece::Give));
    pieces.push(Piece::between("kept indices", 4, n_kept_max.checked_mul(2)?, n_kept_max.checked_mul(4)?));
    pieces.push(Piece::between("kept boxes", 24, n_kept_max.checked_mul(12)?, n_kept_max.checked_mul(24)?));
    pieces.push(Piece::Output(0));
    Some(pieces)
}

fn sort_storage(keys: u64, values: u64) -> Option<Piece> {
    let copies = keys.checked_add(values)?;
    let expected = copies.checked_add(64 << 10)?;
    Some(Piece::between("sort storage", copies, expected, copies.checked_add(HISTOGRAMS_BYTES_MAX)?))
}
