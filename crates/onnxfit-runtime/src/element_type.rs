//! ONNX's element types, numbered as in `TensorProto.DataType`.
//!
//! The one place that knows an element's width and name; everything else asks.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! element_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $bits:literal;)*) => {
        /// An element type of an ONNX tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum ElementType {
            $($(#[$doc])* $name = $number,)*
        }

        impl ElementType {
            /// Every element type.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The type with this `TensorProto.DataType` number.
            pub const fn from_onnx(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The lower-case ONNX name, such as `float16`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Bits of one element; a string has no fixed width and answers zero.
            pub const fn bits(self) -> u64 {
                match self { $(Self::$name => $bits,)* }
            }
        }
    };
}

element_types! {
    /// IEEE single precision.
    Float = 1, "float", 32;
    /// Unsigned byte.
    Uint8 = 2, "uint8", 8;
    /// Signed byte.
    Int8 = 3, "int8", 8;
    /// Unsigned, two bytes.
    Uint16 = 4, "uint16", 16;
    /// Signed, two bytes.
    Int16 = 5, "int16", 16;
    /// Signed, four bytes.
    Int32 = 6, "int32", 32;
    /// Signed, eight bytes.
    Int64 = 7, "int64", 64;
    /// UTF-8 text.
    String = 8, "string", 0;
    /// A truth value in one byte.
    Bool = 9, "bool", 8;
    /// IEEE half precision.
    Float16 = 10, "float16", 16;
    /// IEEE double precision.
    Double = 11, "double", 64;
    /// Unsigned, four bytes.
    Uint32 = 12, "uint32", 32;
    /// Unsigned, eight bytes.
    Uint64 = 13, "uint64", 64;
    /// Two singles.
    Complex64 = 14, "complex64", 64;
    /// Two doubles.
    Complex128 = 15, "complex128", 128;
    /// The upper half of a single.
    Bfloat16 = 16, "bfloat16", 16;
    /// Eight bits, 4 of exponent, finite only.
    Float8e4m3fn = 17, "float8e4m3fn", 8;
    /// Eight bits, 4 of exponent, no negative zero.
    Float8e4m3fnuz = 18, "float8e4m3fnuz", 8;
    /// Eight bits, 5 of exponent.
    Float8e5m2 = 19, "float8e5m2", 8;
    /// Eight bits, 5 of exponent, no negative zero.
    Float8e5m2fnuz = 20, "float8e5m2fnuz", 8;
    /// Two to a byte, unsigned.
    Uint4 = 21, "uint4", 4;
    /// Two to a byte, signed.
    Int4 = 22, "int4", 4;
    /// Two to a byte, 2 of exponent.
    Float4e2m1 = 23, "float4e2m1", 4;
    /// A power of two in a byte.
    Float8e8m0 = 24, "float8e8m0", 8;
    /// Four to a byte, unsigned.
    Uint2 = 25, "uint2", 2;
    /// Four to a byte, signed.
    Int2 = 26, "int2", 2;
}

impl ElementType {
    /// Bytes that `elements` of this type take, packed; `None` for strings or past `u64::MAX`.
    pub fn packed_bytes(self, elements: u64) -> Option<u64> {
        match self.bits() {
            0 => None,
            bits => elements.checked_mul(bits).map(|all| all.div_ceil(8)),
        }
    }

    /// Whether the values are floating point of any width.
    pub const fn is_float(self) -> bool {
        use ElementType as E;
        matches!(
            self,
            E::Float
                | E::Float16
                | E::Bfloat16
                | E::Double
                | E::Float8e4m3fn
                | E::Float8e4m3fnuz
                | E::Float8e5m2
                | E::Float8e5m2fnuz
                | E::Float4e2m1
                | E::Float8e8m0
        )
    }

    /// Whether the values are whole numbers of a full byte or more; `bool` is not.
    pub const fn is_integer(self) -> bool {
        use ElementType as E;
        matches!(self, E::Uint8 | E::Int8 | E::Uint16 | E::Int16 | E::Uint32 | E::Int32 | E::Uint64 | E::Int64)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_finds_its_type_again() {
        for element_type in ElementType::ALL {
            assert_eq!(ElementType::from_onnx(*element_type as i32), Some(*element_type));
        }
        assert_eq!(ElementType::from_onnx(0), None);
        assert_eq!(ElementType::from_onnx(27), None);
    }

    #[test]
    fn sub_byte_elements_are_packed_and_rounded_up() {
        assert_eq!(ElementType::Int4.packed_bytes(3), Some(2));
        assert_eq!(ElementType::Uint2.packed_bytes(5), Some(2));
        assert_eq!(ElementType::Float.packed_bytes(u64::MAX), None);
        assert_eq!(ElementType::String.packed_bytes(1), None);
    }
}
