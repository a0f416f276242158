//! Quantised operators of the standard domain.

use onnxfit_onnx::DataType;

use super::{Entry, broadcast, convolution, one};
use crate::declared::query::{Inferred, Query};

pub(super) const RULES: &[Entry] = &[
    ("", &["QuantizeLinear"], quantize),
    ("", &["DequantizeLinear"], dequantize),
    ("", &["DynamicQuantizeLinear"], dynamic_quantize),
    ("", &["MatMulInteger"], matmul_integer),
    ("", &["QLinearMatMul"], qlinear_matmul),
    ("", &["QLinearConv"], qlinear_conv),
];

pub(super) fn quantize(query: &Query<'_>) -> Vec<Inferred> {
    let named = i32::try_from(query.node.int("output_dtype", 0)).ok().and_then(DataType::from_number);
    let element = if query.has(2) { query.element(2) } else { named.or(Some(DataType::Uint8)) };
    one(Inferred::new(element, query.shape_of(0)))
}

pub(super) fn dequantize(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(1), query.shape_of(0)))
}

fn dynamic_quantize(query: &Query<'_>) -> Vec<Inferred> {
    vec![
        Inferred::new(Some(DataType::Uint8), query.shape_of(0)),
        Inferred::new(Some(DataType::Float), Some(Vec::new())),
        Inferred::new(Some(DataType::Uint8), Some(Vec::new())),
    ]
}

fn matmul_integer(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(1)).and_then(|(left, right)| broadcast::product(left, right));
    one(Inferred::new(Some(DataType::Int32), shape))
}

fn qlinear_matmul(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).zip(query.shape(3)).and_then(|(left, right)| broadcast::product(left, right));
    one(Inferred::new(query.element(7), shape))
}

fn qlinear_conv(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(7), convolution::windows(query, 3)))
}
