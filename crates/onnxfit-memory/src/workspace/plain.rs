//! Operators that allocate their outputs and nothing else on the CPU provider.
//!
//! Measured on traces of onnxruntime 1.31.1.

use std::sync::LazyLock;

use onnxfit_base::Operators;
use onnxfit_graph::families::{ELEMENTWISE, REDUCTIONS};

use crate::program::Node;

/// Of ONNX, besides the element-wise ones and the reductions.
const STANDARD: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Compress",
    "Concat",
    "ConstantOfShape",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "Expand",
    "EyeLike",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Hardmax",
    "If",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "Loop",
    "MatMul",
    "MatMulInteger",
    "MaxPool",
    "NonZero",
    "OneHot",
    "Pad",
    "QuantizeLinear",
    "Range",
    "Reshape",
    "Resize",
    "RMSNormalization",
    "Scan",
    "ScatterElements",
    "ScatterND",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceInsert",
    "SequenceLength",
    "Shape",
    "SimplifiedLayerNormalization",
    "Size",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "SplitToSequence",
    "Squeeze",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Upsample",
    "MemcpyFromHost",
    "MemcpyToHost",
];

/// Of `com.microsoft`.
const CONTRIBUTED: &[&str] = &[
    "FusedGemm",
    "FusedMatMul",
    "Gelu",
    "MatMulIntegerToFloat",
    "QLinearAdd",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QuickGelu",
];

/// Whether an operator is known to take no scratch.
pub(super) fn needs_no_scratch(node: &Node) -> bool {
    static TABLE: LazyLock<Operators<()>> =
        LazyLock::new(|| super::names(&[ELEMENTWISE, REDUCTIONS, STANDARD], CONTRIBUTED));
    TABLE.get(&node.domain, &node.op_type).is_some()
}
