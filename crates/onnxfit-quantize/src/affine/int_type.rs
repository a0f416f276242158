//! The integers that numbers are quantized to.

use onnxfit_onnx::DataType;

use super::Symmetry;

/// An integer type of `QuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are ONNX's own")]
pub enum IntType {
    Int4,
    Uint4,
    Int8,
    Uint8,
    Int16,
    Uint16,
}

impl IntType {
    /// Its name in ONNX.
    pub const fn data_type(self) -> DataType {
        match self {
            Self::Int4 => DataType::Int4,
            Self::Uint4 => DataType::Uint4,
            Self::Int8 => DataType::Int8,
            Self::Uint8 => DataType::Uint8,
            Self::Int16 => DataType::Int16,
            Self::Uint16 => DataType::Uint16,
        }
    }

    /// Bits of one element.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Int4 | Self::Uint4 => 4,
            Self::Int8 | Self::Uint8 => 8,
            Self::Int16 | Self::Uint16 => 16,
        }
    }

    /// Whether it has negative numbers.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Int4 | Self::Int8 | Self::Int16)
    }

    /// All its integers: the lowest and the highest.
    pub const fn range(self) -> (i32, i32) {
        let n = 1 << self.bits();
        if self.is_signed() { (-n / 2, n / 2 - 1) } else { (0, n - 1) }
    }

    /// The integers that are used: a symmetric signed type gives up its lowest, so that -x has an
    /// integer whenever x has; `reduce` gives up a bit, for processors whose 8-bit products
    /// overflow 16 bits when two are added (x86 without VNNI, `mlas` of ONNX Runtime 1.31).
    pub const fn used_range(self, symmetry: Symmetry, reduce: bool) -> (i32, i32) {
        let (low, high) = self.range();
        match (reduce, self.is_signed(), symmetry) {
            (false, true, Symmetry::Symmetric) => (-high, high),
            (false, ..) => (low, high),
            // As `ONNX_INT_TYPE_REDUCED_RANGE` of the runtime's tool has it.
            (true, true, _) => (low / 2, -(low / 2)),
            (true, false, _) => (0, high / 2),
        }
    }
}
