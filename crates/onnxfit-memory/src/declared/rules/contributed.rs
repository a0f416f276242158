//! Operators of `com.microsoft` that fused graphs contain (`contrib_defs.cc`, `bert_defs.cc`).

use onnxfit_onnx::DataType;

use super::{Entry, broadcast, convolution, elementwise, one, quantization};
use crate::declared::Shape;
use crate::declared::query::{Inferred, Query};
use crate::program::DeclaredDim;

const MS: &str = "com.microsoft";

pub(super) const RULES: &[Entry] = &[
    (MS, &["Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasSoftmax", "BiasSplitGelu", "Inverse"], elementwise::same),
    (MS, &["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], skip_layer_normalization),
    (MS, &["QuantizeLinear"], quantization::quantize),
    (MS, &["DequantizeLinear"], quantization::dequantize),
    (MS, &["FusedConv"], convolution::convolution),
    (MS, &["FusedGemm"], broadcast::gemm),
    (MS, &["FusedMatMul", "TransposeMatMul"], fused_matmul),
    (MS, &["MatMulNBits"], matmul_nbits),
    (MS, &["DynamicQuantizeMatMul", "MatMulIntegerToFloat"], matmul_to_float),
    (MS, &["Attention", "MultiHeadAttention"], attention),
];

fn skip_layer_normalization(query: &Query<'_>) -> Vec<Inferred> {
    let like_input = Inferred::new(query.element(0), query.shape_of(0));
    let statistics = Inferred::new(Some(DataType::Float), None);
    vec![like_input.clone(), statistics.clone(), statistics, like_input]
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

/// The projection keeps batch and length; the hidden size is the values' share of the weights.
fn attention(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape_of(0).filter(|shape| shape.len() == 3).and_then(|mut shape: Shape| {
        if query.node.op_type == "Attention" {
            let DeclaredDim::Value(all) = query.shape(2).or(query.shape(1))?.last()? else { return None };
            let sizes = query.node.ints("qkv_hidden_sizes");
            let hidden = sizes.get(2).map_or(all / 3, |size| (*size).max(0) as u64);
            shape[2] = DeclaredDim::Value(hidden);
        } else if let Some(value) = query.shape(2).filter(|value| value.len() == 3) {
            shape[2] = value[2].clone();
        }
        Some(shape)
    });
    one(Inferred::new(query.element(0), shape))
}
