//! Operators of `com.microsoft` that fused graphs contain (`contrib_defs.cc`, `bert_defs.cc`).

use onnxfit_onnx::DataType;

use super::{Entry, broadcast, convolution, elementwise, one, quantization};
use crate::declared::query::{Inferred, Query};
use crate::program::DeclaredDim;

const MS: &str = "com.microsoft";

pub(super) const RULES: &[Entry] = &[
    (
        MS,
        &["Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasSoftmax", "Inverse", "GroupNorm", "BiasAdd"],
        elementwise::same,
    ),
    (MS, &["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], skip_layer_normalization),
    (MS, &["SkipGroupNorm"], skip_group_norm),
    (MS, &["BiasSplitGelu"], bias_split_gelu),
    (MS, &["GemmFastGelu"], broadcast::matmul),
    (MS, &["QuantizeLinear"], quantization::quantize),
    (MS, &["DequantizeLinear"], quantization::dequantize),
    (MS, &["FusedConv"], convolution::convolution),
    (MS, &["FusedGemm"], broadcast::gemm),
    (MS, &["FusedMatMul", "TransposeMatMul"], fused_matmul),
    (MS, &["MatMulNBits"], matmul_nbits),
    (MS, &["DynamicQuantizeMatMul", "MatMulIntegerToFloat"], matmul_to_float),
];

fn skip_layer_normalization(query: &Query<'_>) -> Vec<Inferred> {
    let like_input = Inferred::new(query.element(0), query.shape_of(0));
    let statistics = query.shape_of(0).map(|mut shape| {
        if let Some(last) = shape.last_mut() {
            *last = DeclaredDim::Value(1);
        }
        shape
    });
    let statistics = Inferred::new(Some(DataType::Float), statistics);
    vec![like_input.clone(), statistics.clone(), statistics, like_input]
}

fn skip_group_norm(query: &Query<'_>) -> Vec<Inferred> {
    let like_input = Inferred::new(query.element(0), query.shape_of(0));
    vec![like_input.clone(), like_input]
}

/// Half of the bias wide.
fn bias_split_gelu(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape_of(0).filter(|shape| shape.len() == 3).zip(query.shape(1)).map(|(mut shape, bias)| {
        shape[2] = match bias {
            [DeclaredDim::Value(width)] => DeclaredDim::Value(width / 2),
            _ => DeclaredDim::Unknown,
        };
        shape
    });
    one(Inferred::new(query.element(0), shape))
}

fn fused_matmul(query: &Query<'_>) -> Vec<Inferred> {
    let turned = |position: usize, name: &str| {
        let mut dims = query.shape_of(position)?;
        let rank = dims.len();
        if query.node.int(name, 0) != 0 && rank >= 2 {
            dims.swap(rank - 1, rank - 2);
        }
        Some(dims)
    };
    let batch_turned = query.node.int("transBatchA", 0) != 0 || query.node.int("transBatchB", 0) != 0;
    let shape = turned(0, "transA")
        .zip(turned(1, "transB"))
        .filter(|_| !batch_turned)
        .and_then(|(left, right)| broadcast::product(&left, &right));
    one(Inferred::new(query.element(0), shape))
}

fn matmul_to_float(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(1)).and_then(|(left, right)| broadcast::product(left, right));
    one(Inferred::new(Some(DataType::Float), shape))
}

fn matmul_nbits(query: &Query<'_>) -> Vec<Inferred> {
    let columns = crate::declared::query::number(query.node.int("N", 0));
    let shape = query.shape_of(0).and_then(|mut shape| {
        *shape.last_mut()? = columns;
        Some(shape)
    });
    one(Inferred::new(query.element(0), shape))
}
