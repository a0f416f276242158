//! Which operators the CPU provider can run on half precision.
//!
//! From the kernel registrations of onnxruntime/core/providers/cpu and contrib_ops/cpu (ORT 1.31,
//! x64 build). Everything else has a kernel for the types that models use.

use onnxfit_onnx::DataType;

use super::MS;

/// Operators of ONNX's domain with a `float16` CPU kernel (x64).
const HALF: &[&str] = &[
    "Attention",
    "BitCast",
    "Cast",
    "CastLike",
    "Clip",
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
    "Max",
    "Min",
    "Mod",
    "NonZero",
    "OneHot",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "QuantizeLinear",
    "RMSNormalization",
    "RandomNormalLike",
    "RandomUniformLike",
    "Reshape",
    "Reverse",
    "ReverseSequence",
    "RotaryEmbedding",
    "Round",
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
    "Shrink",
    "Sign",
    "SimplifiedLayerNormalization",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "SplitToSequence",
    "Squeeze",
    "Tanh",
    "TensorScatter",
    "Tile",
    "Transpose",
    "Unsqueeze",
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
                    | "MRotaryEmbedding"
                    | "SparseAttention"
                    | "GatherBlockQuantized"
                    | "ExpandDims"
                    | "UnfoldTensor"
                    | "QuantizeLinear"
                    | "DequantizeLinear"
            ),
            _ => false,
        };
    }
    !inputs.contains(&DataType::Bfloat16) || HALF.contains(&op_type)
}
