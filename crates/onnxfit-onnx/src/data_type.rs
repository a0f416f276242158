//! The element types of ONNX tensors.

use std::fmt;

macro_rules! data_types {
    ($($variant:ident = $number:literal, $bits:literal, $name:literal;)*) => {
        /// An element type of a tensor, numbered as `TensorProto.DataType`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names are ONNX's own")]
        pub enum DataType { $($variant = $number,)* }

        impl DataType {
            /// Every element type, in ONNX's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The type with this number; `None` for 0 (undefined) and for numbers past the newest.
            pub const fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Bits of one element in a file; strings have none of their own.
            pub const fn bits(self) -> u64 {
                match self { $(Self::$variant => $bits,)* }
            }

            /// The name used in ONNX's text syntax.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

data_types! {
    Float = 1, 32, "float";
    Uint8 = 2, 8, "uint8";
    Int8 = 3, 8, "int8";
    Uint16 = 4, 16, "uint16";
    Int16 = 5, 16, "int16";
    Int32 = 6, 32, "int32";
    Int64 = 7, 64, "int64";
    String = 8, 0, "string";
    Bool = 9, 8, "bool";
    Float16 = 10, 16, "float16";
    Double = 11, 64, "double";
    Uint32 = 12, 32, "uint32";
    Uint64 = 13, 64, "uint64";
    Complex64 = 14, 64, "complex64";
    Complex128 = 15, 128, "complex128";
    Bfloat16 = 16, 16, "bfloat16";
    Float8E4M3FN = 17, 8, "float8e4m3fn";
    Float8E4M3FNUZ = 18, 8, "float8e4m3fnuz";
    Float8E5M2 = 19, 8, "float8e5m2";
    Float8E5M2FNUZ = 20, 8, "float8e5m2fnuz";
    Uint4 = 21, 4, "uint4";
    Int4 = 22, 4, "int4";
    Float4E2M1 = 23, 4, "float4e2m1";
    Float8E8M0 = 24, 8, "float8e8m0";
    Uint2 = 25, 2, "uint2";
    Int2 = 26, 2, "int2";
    Float6E2M3 = 27, 6, "float6e2m3";
    Float6E3M2 = 28, 6, "float6e3m2";
}

impl DataType {
    /// ONNX's number for this type.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The type of this name in ONNX's text syntax.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|data_type| data_type.name() == name)
    }

    /// Bytes that `n_elements` of this type take in a file, packed types included; `None` past
    /// `u64::MAX`.
    pub fn packed_bytes(self, n_elements: u64) -> Option<u64> {
        n_elements.checked_mul(self.bits()).map(|bits| bits.div_ceil(8))
    }

    /// Whether the elements are floating-point numbers of any width.
    pub const fn is_float(self) -> bool {
        use DataType::*;
        matches!(
            self,
            Float
                | Float16
                | Double
                | Bfloat16
                | Float8E4M3FN
                | Float8E4M3FNUZ
                | Float8E5M2
                | Float8E5M2FNUZ
                | Float4E2M1
                | Float8E8M0
                | Float6E2M3
                | Float6E3M2
        )
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
