//! Which operators the CPU provider can run on half precision.
//!
//! From the kernel registrations of onnxruntime/core/providers/cpu and contrib_ops/cpu (ORT 1.31,
//! x64 build). Everything else has a kernel for the types that models use.

use onnxfit_onnx::DataType;

use super::MS;

/// Operators of ONNX's domain with a `float16` CPU kernel (x64).
const HALF: &[&str] = &[
    "Cast",
    "CastLike",
    "Compress",
    "Concat",
    "ConcatFromSequence",
    "Constant",
    "ConstantOfShape",
    "DepthToSpace",
    "DequantizeLinear",
    "Expand",
    "EyeLike",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "If",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "Loop",
    "NonZero",
    "OneHot",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "QuantizeLinear",
    "RandomNormalLike",
    "RandomUniformLike",
    "Reshape",
    "Reverse",
    "ReverseSequence",
    "Scan",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "Shape",
    "SimplifiedLayerNormalization",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "SplitToSequence",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
    "Tanh",
];

/// Whether the CPU provider has a kernel for an operator on these input types.
pub(super) fn cpu_has(domain: &str, op_type: &str, inputs: &[DataType]) -> bool {
    if inputs.contains(&DataType::Float16) {
        return match domain {
            "" => HALF.contains(&op_type),
            MS => matches!(
                op_type,
                "SkipLayerNormalization"
                    | "SkipSimplifiedLayerNormalization"
                    | "MatMulNBits"
                    | "GroupQueryAttention"
                    | "RotaryEmbedding"
                    | "QuantizeLinear"
                    | "DequantizeLinear"
            ),
            _ => false,
        };
    }
    !inputs.contains(&DataType::Bfloat16) || HALF.contains(&op_type)
}
