//! Weights of `MatMulNBits` in the layout of its kernels.
//!
//! `contrib_ops/cpu/quantization/matmul_nbits.cc`, `mlas/lib/qnbitgemm.cpp`,
//! `mlas/lib/sqnbitgemm_kernel_avx_common.h` and `..._avx512_2bit.cpp` (ORT 1.31, x64 with AVX-512).

use onnxfit_onnx::DataType;

use super::{Asked, Buffer};
use crate::program::Node;

/// What a kernel of blocks computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Computes {
    /// Floats, from weights that are kept by blocks.
    Float,
    /// Bytes: A is quantized by blocks too.
    Byte,
    /// Floats, from weights that every call expands.
    Expanded,
}

/// The weights of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    pub(crate) block: u64,
    pub(crate) bits: u64,
    pub(crate) computes: Computes,
}

const ALIGNMENT: u64 = 64;

impl Blocks {
    /// Of a node whose zero points, if any, are bytes or not.
    pub(crate) fn of(node: &Node, byte_zero_points: bool) -> Option<Self> {
        let number = |name: &str, default: i64| u64::try_from(node.int(name, default)).ok();
        let (bits, block) = (number("bits", 4)?, number("block_size", 0)?);
        let two_bits = bits == 2 && matches!(block, 32 | 64 | 128);
        let has_bytes = matches!(bits, 4 | 8) || two_bits;
        // Reordered rows and zero points that are no bytes have no kernel of their own.
        let computes = if node.input(4).is_some() || !byte_zero_points {
            Computes::Expanded
        } else if node.int("accuracy_level", 0) == 4 && has_bytes {
            Computes::Byte
        } else if bits == 4 {
            Computes::Float
        } else {
            Computes::Expanded
        };
        let blocks = Self { rows: number("K", 0)?, columns: number("N", 0)?, block, bits, computes };
        (block > 0).then_some(blocks)
    }

    /// Blocks in a column.
    pub(crate) fn per_column(&self) -> u64 {
        self.rows.div_ceil(self.block)
    }

    /// The packed copy; `None` where there is none.
    fn packed_bytes(&self) -> Option<u64> {
        let per_column = match self.bits {
            2 => self.per_column().checked_next_multiple_of(4)?,
            _ => self.per_column(),
        };
        let n_blocks = self.columns.checked_mul(per_column)?;
        let bytes = n_blocks.checked_mul(self.block.checked_mul(self.bits)? / 8)?;
        match self.computes {
            Computes::Float => Some(bytes),
            Computes::Byte => {
                let sums = self.columns.checked_next_multiple_of(16)?.checked_mul(per_column)?.checked_mul(4)?;
                bytes.checked_add(n_blocks.checked_mul(4)?)?.checked_add(sums)?.checked_add(2 * (ALIGNMENT - 1))
            }
            Computes::Expanded => None,
        }
        .filter(|bytes| *bytes > 0)
    }
}

/// `MatMulNBits`: B; scales and bias are widened if they are half as wide.
pub(super) fn matmul(asked: &Asked<'_>) -> Vec<Buffer> {
    let widened = || asked.size.n_elements().and_then(|n_elements| n_elements.checked_mul(4));
    let bytes = match (asked.position, asked.size.element) {
        (1, DataType::Uint8) => {
            let byte_zero_points = asked.constant(3).is_none_or(|zeros| zeros.element == DataType::Uint8);
            Blocks::of(asked.node, byte_zero_points).and_then(|blocks| blocks.packed_bytes())
        }
        (2 | 5, DataType::Float16) => widened(),
        _ => None,
    };
    bytes.map(Buffer::reserved).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(bits: u64, computes: Computes) -> Blocks {
        Blocks { rows: 64, columns: 40, block: 32, bits, computes }
    }

    #[test]
    fn four_bits_for_floats_are_kept_as_they_are_and_for_bytes_with_scales_and_sums() {
        assert_eq!(blocks(4, Computes::Float).packed_bytes(), Some(64 * 40 / 2));
        let (weights, scales, sums) = (64 * 40 / 2, 2 * 40 * 4, 2 * 48 * 4);
        assert_eq!(blocks(4, Computes::Byte).packed_bytes(), Some(weights + scales + sums + 126));
        assert_eq!(blocks(8, Computes::Expanded).packed_bytes(), None);
    }
}
