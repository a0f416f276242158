//! Concatenation and splitting: tables that tell which part an index belongs to.
//!
//! `tensor/concat.cc`, `tensor/split.cc` (ORT 1.30-dev). Equal parts, up to 32 of them, travel as
//! arguments of the kernel; the tables exist in page-locked host memory, too.

use super::{Call, Piece, after_outputs, axis_of};

/// What a kernel takes as arguments.
const PARTS_MAX: usize = 32;

pub(super) fn concat(call: &Call<'_>) -> Option<Vec<Piece>> {
    let node = call.node;
    let output = call.output(0)?;
    let axis = axis_of(node.int("axis", 0), output.dims.len())?;
    let parts: Vec<u64> =
        (0..node.inputs.len()).map(|position| call.input(position)?.dims.get(axis).copied()).collect::<Option<_>>()?;
    if output.n_elements()? == 0 {
        return Some(after_outputs(node, []));
    }
    let pointers = Piece::exact("input pointers", 8 * parts.len() as u64);
    let mut scratch = Vec::new();
    if parts.windows(2).any(|pair| pair[0] != pair[1]) {
        scratch = tables(parts.len(), output.dims[axis])?;
        scratch.push(pointers);
    } else if parts.len() > PARTS_MAX {
        scratch.push(pointers);
    }
    Some(after_outputs(node, scratch))
}

pub(super) fn split(call: &Call<'_>) -> Option<Vec<Piece>> {
    let node = call.node;
    let input = call.input(0)?;
    let axis = axis_of(node.int("axis", 0), input.dims.len())?;
    let n_parts = node.outputs.len();
    // Three parts of the last dimension have a kernel of their own.
    if n_parts == 3 && axis + 1 == input.dims.len() || input.n_elements()? == 0 {
        return Some(after_outputs(node, []));
    }
    let parts: Vec<u64> =
        (0..n_parts).map(|position| call.output(position)?.dims.get(axis).copied()).collect::<Option<_>>()?;
    let pointers = Piece::exact("output pointers", 8 * n_parts as u64);
    let mut scratch = Vec::new();
    if parts.windows(2).any(|pair| pair[0] != pair[1]) {
        scratch.push(pointers);
        let [sizes, mapping, ranges] = <[Piece; 3]>::try_from(tables(n_parts, input.dims[axis])?).ok()?;
        scratch.extend([sizes, ranges, mapping]);
    } else if n_parts > PARTS_MAX {
        scratch.push(pointers);
    }
    Some(after_outputs(node, scratch))
}

/// The sizes of the parts, the part of every index, the ends of the parts.
fn tables(n_parts: usize, n_indices: u64) -> Option<Vec<Piece>> {
    let per_part = 8 * n_parts as u64;
    Some(vec![
        Piece::exact("part sizes", per_part),
        Piece::exact("part of every index", n_indices.checked_mul(8)?),
        Piece::exact("part ends", per_part),
    ])
}
