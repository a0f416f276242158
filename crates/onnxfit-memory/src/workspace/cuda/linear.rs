//! Products of matrices: pointer arrays, padding of bytes, weights unpacked from a few bits.
//!
//! `math/matmul.cc`, `math/matmul_integer.cc`, `integer_gemm.cc`,
//! `contrib_ops/cuda/quantization/matmul_{nbits,bnb4}.cc` (ORT 1.30-dev). What cuBLAS takes belongs to its
//! handle and is counted there.

use super::{Call, Piece, after_outputs, product};

pub(super) fn matmul(call: &Call<'_>) -> Option<Vec<Piece>> {
    batched(call, false)
}

pub(super) fn fused_matmul(call: &Call<'_>) -> Option<Vec<Piece>> {
    batched(call, call.node.int("transA", 0) != 0)
}

/// Batches that no stride describes need three arrays of pointers.
fn batched(call: &Call<'_>, transposes_left: bool) -> Option<Vec<Piece>> {
    let (left, right) = (&call.input(0)?.dims, &call.input(1)?.dims);
    let leading = |dims: &[u64]| dims.len().checked_sub(2).and_then(|n| product(&dims[..n]));
    // A matrix on the right multiplies the rows of all batches at once, unless they are transposed.
    let is_single = right.len() <= 2 && !transposes_left || left.len() <= 2 && right.len() <= 2;
    let is_strided = left.len() >= 3 && right.len() >= 2 && (right.len() == 2 || leading(left)? == leading(right)?);
    let n_batches = match call.output(0)?.dims.as_slice() {
        // A vector on either side leaves one dimension out.
        dims if left.len() == 1 || right.len() == 1 => product(&dims[..dims.len().saturating_sub(1)])?,
        dims => leading(dims).unwrap_or(1),
    };
    if is_single || is_strided || n_batches <= 1 {
        return Some(after_outputs(call.node, []));
    }
    let bytes = n_batches.checked_mul(8)?;
    let arrays = ["left pointers", "right pointers", "output pointers"];
    Some(after_outputs(call.node, arrays.map(|what| Piece::exact(what, bytes))))
}

/// Sums that zero points other than zero need, and rows padded to 32 bytes, one batch at a time.
pub(super) fn integer(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (left, right) = (call.input(0)?, call.input(1)?);
    let (&depth, columns) = (left.dims.last()?, if right.dims.len() > 1 { *right.dims.last()? } else { 1 });
    let rows = left.dims.len().checked_sub(2).map_or(1, |at| left.dims[at]);
    let n_outputs = call.output(0)?.n_elements()?;
    if n_outputs == 0 {
        return Some(after_outputs(call.node, []));
    }
    let mut scratch = Vec::new();
    // The row sums are for the zero point of the right side and the other way round.
    for (position, what, n_sums) in
        [(3, "row sums", n_outputs / columns.max(1)), (2, "column sums", n_outputs / rows.max(1))]
    {
        let bytes = n_sums.checked_mul(4)?;
        match call.integers(position) {
            _ if call.node.input(position).is_none() => {}
            Some(zero_point) if zero_point.iter().all(|&zero| zero == 0) => {}
            Some(_) => scratch.push(Piece::exact(what, bytes)),
            None => scratch.push(Piece::between(what, 0, bytes, bytes)),
        }
    }
    for (what, n_rows, row) in [("padded left side", rows, depth), ("padded right side", depth, columns)] {
        if row % 32 != 0 {
            scratch.push(Piece::exact(what, n_rows.checked_mul(row.next_multiple_of(32))?));
        }
    }
    Some(after_outputs(call.node, scratch))
}

/// Above this, a weight of many rows is unpacked in parts.
const WHOLE_BYTES_MAX: u64 = 256 << 20;
/// `kDefaultChunkTargetRows`.
const ROWS_AT_ONCE: u64 = 32_768;
/// No kernel that reads packed weights takes more rows.
const PACKED_ROWS_MAX: u64 = 8;

/// A few rows are multiplied with the packed weight; for more it is unpacked.
///
/// `ep.cuda.fpa_intb_gemm` is off by default and not considered. How many rows are few depends on
/// type and release: one always is, up to eight may be.
pub(super) fn n_bits(call: &Call<'_>) -> Option<Vec<Piece>> {
    let node = call.node;
    let input = call.input(0)?;
    let size = |name| u64::try_from(node.int(name, 0)).ok();
    let (depth, columns, block) = (size("K")?, size("N")?, size("block_size")?.max(1));
    let rows = input.n_elements()? / depth.max(1);
    let row_bytes = depth.checked_next_multiple_of(block)?.checked_mul(input.element_bytes())?;
    let whole = columns.checked_mul(row_bytes)?;
    let in_parts = whole > WHOLE_BYTES_MAX && columns > 2 * ROWS_AT_ONCE && node.input(4).is_none();
    let unpacked = if in_parts { ROWS_AT_ONCE.checked_mul(row_bytes)? } else { whole };
    let zero_points_packed = node.input(3).is_none() || call.input(3)?.element != input.element;
    let reads_packed = columns % 8 == 0 && depth % 8 == 0 && node.input(4).is_none() && zero_points_packed;
    let weight = match rows {
        0 | 1 if reads_packed => return Some(after_outputs(node, [])),
        2..=PACKED_ROWS_MAX if reads_packed => Piece::between("unpacked weight", 0, 0, unpacked),
        _ => Piece::exact("unpacked weight", unpacked),
    };
    Some(after_outputs(node, [weight]))
}

/// A table of 16 values; the weight is unpacked unless there is one row.
pub(super) fn bnb4(call: &Call<'_>) -> Option<Vec<Piece>> {
    let input = call.input(0)?;
    let size = |name| u64::try_from(call.node.int(name, 0)).ok();
    let (depth, columns) = (size("K")?, size("N")?);
    let rows = input.n_elements()? / depth.max(1);
    let mut scratch = vec![Piece::exact("value table", 16 * input.element_bytes())];
    if rows > 1 {
        scratch.push(Piece::exact("unpacked weight", product(&[columns, depth, input.element_bytes()])?));
    }
    Some(after_outputs(call.node, scratch))
}
