//! Quantised operators of `com.microsoft` (`quantization_defs.cc`, `nhwc_schema_defs.cc`, ORT 1.31).

use onnxfit_onnx::DataType;

use super::{Entry, broadcast, convolution, elementwise, movement, one, reduction};
use crate::declared::Shape;
use crate::declared::query::{Inferred, Query};
use crate::program::DeclaredDim;

const MS: &str = "com.microsoft";

pub(super) const RULES: &[Entry] = &[
    (MS, &["QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"], elementwise::same),
    (MS, &["QLinearAdd", "QLinearMul"], arithmetic),
    (MS, &["MulInteger"], integer_product),
    (MS, &["QLinearReduceMean", "ReduceSumInteger"], reduce),
    (MS, &["QLinearGlobalAveragePool"], global_pool),
    (MS, &["QLinearAveragePool", "NhwcMaxPool"], pool),
    (MS, &["QLinearConcat"], concat),
    (MS, &["QLinearWhere"], choose),
    (MS, &["QGemm"], gemm),
    (MS, &["QLinearConv"], q_linear_convolution),
];

fn of(query: &Query<'_>, positions: &[usize]) -> Option<Shape> {
    let shapes: Option<Vec<&[DeclaredDim]>> = positions.iter().map(|&at| query.shape(at)).collect();
    broadcast::broadcast(&shapes?)
}

fn arithmetic(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(query.element(0), of(query, &[0, 3])))
}

fn integer_product(query: &Query<'_>) -> Vec<Inferred> {
    one(Inferred::new(Some(DataType::Int32), of(query, &[0, 2])))
}

/// The axes are an attribute; nothing but them decides.
fn reduce(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|input| reduction::without(input, query.node.ints("axes"), query.node));
    let element = if query.node.op_type == "ReduceSumInteger" { Some(DataType::Int32) } else { query.element(0) };
    one(Inferred::new(element, shape))
}

fn global_pool(query: &Query<'_>) -> Vec<Inferred> {
    let last = query.node.int("channels_last", 0) != 0;
    let shape = query.shape_of(0).filter(|shape| shape.len() >= 2).map(|mut shape| {
        let sides = if last { 1..shape.len() - 1 } else { 2..shape.len() };
        shape[sides].fill(DeclaredDim::Value(1));
        shape
    });
    one(Inferred::new(query.element(0), shape))
}

fn pool(query: &Query<'_>) -> Vec<Inferred> {
    let last = query.node.op_type == "NhwcMaxPool" || query.node.int("channels_last", 0) != 0;
    let dilates = query.node.op_type == "NhwcMaxPool";
    let shape = query.shape_of(0).map(|shape| if last { channels_first(shape) } else { shape });
    let shape = shape.and_then(|shape| convolution::pooled(query.node, &shape, dilates));
    one(Inferred::new(query.element(0), shape.map(|shape| if last { channels_last(shape) } else { shape })))
}

fn q_linear_convolution(query: &Query<'_>) -> Vec<Inferred> {
    let last = query.node.int("channels_last", 0) != 0;
    let input = query.shape_of(0).map(|shape| if last { channels_first(shape) } else { shape });
    let shape = input.and_then(|input| convolution::windows_of(query, &input, 3));
    one(Inferred::new(query.element(7), shape.map(|shape| if last { channels_last(shape) } else { shape })))
}

fn channels_first(mut shape: Shape) -> Shape {
    if shape.len() > 2 {
        shape[1..].rotate_right(1);
    }
    shape
}

fn channels_last(mut shape: Shape) -> Shape {
    if shape.len() > 2 {
        shape[1..].rotate_left(1);
    }
    shape
}

/// Scale and zero point of the result, then every part with its own.
fn concat(query: &Query<'_>) -> Vec<Inferred> {
    let n_inputs = query.node.inputs.len();
    let all_known = (0..n_inputs).all(|at| query.shape(at).is_some());
    let shape = Some(()).filter(|()| n_inputs >= 5 && (n_inputs - 2).is_multiple_of(3) && all_known).and_then(|()| {
        let parts: Vec<&[DeclaredDim]> = (2..n_inputs).step_by(3).filter_map(|at| query.shape(at)).collect();
        movement::joined(&parts, query.axis(1, parts.first()?.len())?)
    });
    one(Inferred::new(query.element(2), shape))
}

fn choose(query: &Query<'_>) -> Vec<Inferred> {
    let all_known = (0..9).all(|at| query.shape(at).is_some());
    let shape = if all_known { of(query, &[0, 1, 4]) } else { None };
    one(Inferred::new(query.element(1), shape))
}

fn gemm(query: &Query<'_>) -> Vec<Inferred> {
    let pick = |position: usize, name: &str, side: usize| {
        let dims = query.shape(position).filter(|dims| dims.len() == 2)?;
        Some(dims[if query.node.int(name, 0) != 0 { 1 - side } else { side }].clone())
    };
    let shape = pick(0, "transA", 0).zip(pick(3, "transB", 1)).map(|(rows, columns)| vec![rows, columns]);
    let element = if query.has(8) { query.element(8) } else { Some(DataType::Float) };
    one(Inferred::new(element, shape))
}
