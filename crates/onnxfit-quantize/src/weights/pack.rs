//! A matrix as `MatMulNBits` keeps it: rows of outputs, blocks of inputs, four or eight bits.
//!
//! Layout as its schema says it (`contrib_defs.cc`, ONNX Runtime 1.31): integers without a sign, a
//! block's bits together, the first of two nibbles in the lower half; zero points packed the same way
//! along the blocks, or 2^(bits-1) where there are none.

use crate::affine::{Params, Symmetry, pack_nibbles};

/// A matrix of `n_rows` outputs by `n_columns` inputs, packed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Packed {
    pub(super) bits: u32,
    pub(super) block: usize,
    pub(super) n_blocks: usize,
    /// `[rows, blocks, bytes of a block]`.
    pub(super) integers: Vec<u8>,
    /// `[rows, blocks]`.
    pub(super) scales: Vec<f32>,
    /// `[rows, bytes of a row's zero points]`; none where all are in the middle.
    pub(super) zero_points: Vec<u8>,
}

/// How rows become integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) bits: u32,
    pub(super) block: usize,
}

impl Grid {
    pub(super) fn range(self) -> (i32, i32) {
        (0, (1 << self.bits) - 1)
    }

    /// Four bits are too few to waste half of them on a side that has no numbers.
    pub(super) fn symmetry(self) -> Symmetry {
        if self.bits == 4 { Symmetry::Asymmetric } else { Symmetry::Symmetric }
    }

    /// Scale and zero point of a block.
    pub(super) fn params(self, numbers: &[f32]) -> Params {
        let (low, high) = numbers.iter().fold((0.0f32, 0.0f32), |(low, high), n| (low.min(*n), high.max(*n)));
        match self.symmetry() {
            Symmetry::Asymmetric => Params::of_range(low, high, self.range(), Symmetry::Asymmetric),
            Symmetry::Symmetric => {
                let middle = 1 << (self.bits - 1);
                let params = Params::of_range(low, high, (1 - middle, middle - 1), Symmetry::Symmetric);
                Params { zero_point: middle, ..params }
            }
        }
    }

    pub(super) fn bytes_per_block(self) -> usize {
        self.block * self.bits as usize / 8
    }
}

/// Rows are given as integers with their parameters, block by block, and packed one after another.
pub(super) fn pack(rows: Vec<(Vec<u8>, Vec<Params>)>, grid: Grid) -> Packed {
    let n_blocks = rows.first().map_or(0, |(_, params)| params.len());
    let mut packed = Packed { bits: grid.bits, block: grid.block, n_blocks, ..Packed::default() };
    for (mut integers, params) in rows {
        // What the last block has too much is never multiplied: it is as good as zero.
        integers.resize(n_blocks * grid.block, 0);
        match grid.bits {
            4 => packed.integers.extend(pack_nibbles(integers.into_iter().map(i32::from))),
            _ => packed.integers.extend(integers),
        }
        packed.scales.extend(params.iter().map(|params| params.scale));
        if grid.symmetry() == Symmetry::Asymmetric {
            packed.zero_points.extend(pack_nibbles(params.iter().map(|params| params.zero_point)));
        }
    }
    packed
}

/// Rounds one row to the nearest.
pub(super) fn round_row(row: &[f32], grid: Grid) -> (Vec<u8>, Vec<Params>) {
    let mut integers = Vec::with_capacity(row.len());
    let mut all = Vec::with_capacity(row.len().div_ceil(grid.block));
    for block in row.chunks(grid.block) {
        let params = grid.params(block);
        integers.extend(block.iter().map(|number| params.quantize(*number, grid.range()) as u8));
        all.push(params);
    }
    (integers, all)
}
