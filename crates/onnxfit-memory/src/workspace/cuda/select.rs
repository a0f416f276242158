//! Selections whose size is found on the device, and indexing by coordinates.
//!
//! `tensor/{nonzero_op,compress,gather_nd,scatter_nd}.cc` (ORT 1.30-dev).

use super::{Call, Piece, after_outputs, axis_of, product, scan_storage};

/// `NONZERO_THREADS_PER_BLOCK`.
const THREADS_PER_BLOCK: u64 = 256;

pub(super) fn non_zero(call: &Call<'_>) -> Option<Vec<Piece>> {
    let n_blocks = call.input(0)?.n_elements()?.div_ceil(THREADS_PER_BLOCK);
    if n_blocks == 0 {
        return Some(after_outputs(call.node, []));
    }
    Some(vec![Piece::exact("block counts", n_blocks.checked_mul(4)?), scan_storage(n_blocks), Piece::Output(0)])
}

pub(super) fn compress(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (input, condition) = (call.input(0)?, call.input(1)?);
    let length = match call.node.attributes.contains_key("axis") {
        true => input.dims[axis_of(call.node.int("axis", 0), input.dims.len())?],
        false => input.n_elements()?,
    };
    let length = length.min(condition.n_elements()?);
    Some(vec![Piece::exact("positions", length.checked_mul(4)?), scan_storage(length), Piece::Output(0)])
}

/// The sizes of dimensions live only while the offsets are computed.
pub(super) fn gather_nd(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (&n_dims, slices) = call.input(1)?.dims.split_last()?;
    let scratch = [
        Piece::exact("dimension sizes", n_dims.checked_mul(8)?),
        Piece::exact("slice offsets", product(slices)?.checked_mul(8)?),
        Piece::Give(0),
    ];
    Some(after_outputs(call.node, scratch))
}

/// Up to five coordinates travel as arguments of the kernel.
pub(super) fn scatter_nd(call: &Call<'_>) -> Option<Vec<Piece>> {
    let n_dims = *call.input(1)?.dims.last()?;
    let scratch = (n_dims >= 6).then(|| n_dims.checked_mul(16)).flatten();
    Some(after_outputs(call.node, scratch.map(|bytes| Piece::exact("dimension sizes", bytes))))
}
