//! Why a node keeps computing in 32-bit floats.

use std::fmt;

/// Why a node keeps computing in 32-bit floats.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The caller asked for it.
    Asked,
    /// The operator takes nothing else at this place.
    FloatOnly,
    /// This version of the operator does not define the half type.
    NotDefined,
    /// ONNX Runtime has no kernel for the half type.
    NoKernel,
    /// The operator is not known, so neither is what it takes.
    UnknownOperator,
    /// A body that an operator other than If, Loop and Scan runs.
    ForeignBody,
    /// Sequences, optionals and sparse tensors are left alone.
    Container,
    /// An attribute names the type of the result.
    TypedByAttribute,
    /// The result becomes an index or a size; the half type has whole numbers only up to 2048.
    WholeNumbers,
    /// The argument of a periodic function, where rounding turns into a wrong phase.
    Phase,
    /// A constant that the half type would turn into zero, or into something quite different.
    Constant(f32),
    /// Numbers can grow past the range here, and nobody measured.
    MayOverflow,
    /// The largest number that was measured does not fit.
    Overflows(f32),
    /// Most numbers that were measured would become zero.
    Underflows,
    /// Between the dequantization and the quantization that the runtime fuses with it.
    Quantized,
    /// ONNX Runtime cannot load the pattern in the half type.
    RuntimeBug,
    /// Between other nodes that stay, so that converting it would cost more than it saves.
    Cheaper,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for"),
            Self::FloatOnly => f.write_str("takes only float"),
            Self::NotDefined => f.write_str("not defined for the half type in this opset"),
            Self::NoKernel => f.write_str("no kernel for the half type"),
            Self::UnknownOperator => f.write_str("unknown operator"),
            Self::ForeignBody => f.write_str("inside a body that is not understood"),
            Self::Container => f.write_str("works on sequences, optionals or sparse tensors"),
            Self::TypedByAttribute => f.write_str("an attribute names its type"),
            Self::WholeNumbers => f.write_str("computes an index or a size"),
            Self::Phase => f.write_str("computes the argument of a periodic function"),
            Self::Constant(number) => write!(f, "its constant {number:e} has no half-width equal"),
            Self::MayOverflow => f.write_str("may overflow, and was not measured"),
            Self::Overflows(number) => write!(f, "reaches {number:e}"),
            Self::Underflows => f.write_str("mostly below the smallest half-width number"),
            Self::Quantized => f.write_str("part of a quantized operator"),
            Self::RuntimeBug => f.write_str("ONNX Runtime cannot load this pattern in the half type"),
            Self::Cheaper => f.write_str("between others that stay float"),
        }
    }
}
