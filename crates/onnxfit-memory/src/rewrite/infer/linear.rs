//! Matrix products, convolutions, pooling.

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::{Context, Inferred, Rule, broadcast, dim_value, one, sized};
use crate::declared::einsum_dims;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("MatMul", matmul),
    ("MatMulInteger", matmul_integer),
    ("MatMulIntegerToFloat", matmul_float),
    ("DynamicQuantizeMatMul", matmul_float),
    ("QLinearMatMul", qlinear_matmul),
    ("FusedMatMul", fused_matmul),
    ("MatMulNBits", matmul_n_bits),
    ("Gemm", gemm),
    ("FusedGemm", gemm),
    ("Conv", conv),
    ("FusedConv", conv),
    ("ConvInteger", conv_integer),
    ("QLinearConv", qlinear_conv),
    ("MaxPool", max_pool),
    ("AveragePool", pool),
    ("LpPool", pool),
    ("ConvTranspose", conv_transpose),
    ("GlobalAveragePool", global_pool),
    ("GlobalMaxPool", global_pool),
    ("GlobalLpPool", global_pool),
    ("Einsum", einsum),
];

fn matmul_shape(left: &[Dim], right: &[Dim]) -> Option<Vec<Dim>> {
    let (l, r) = (left.len(), right.len());
    if l == 0 || r == 0 {
        return None;
    }
    let prefix = |shape: &[Dim]| shape[..shape.len().saturating_sub(2)].to_vec();
    let mut result = broadcast(&[&prefix(left), &prefix(right)])?;
    if l > 1 {
        result.push(left[l - 2].clone());
    }
    if r > 1 {
        result.push(right[r - 1].clone());
    }
    Some(result)
}

fn matmul(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), (|| matmul_shape(context.shape(0)?, context.shape(1)?))())
}

fn matmul_integer(context: &Context<'_>) -> Vec<Inferred> {
    one(Some(DataType::Int32), (|| matmul_shape(context.shape(0)?, context.shape(1)?))())
}

fn matmul_float(context: &Context<'_>) -> Vec<Inferred> {
    one(Some(DataType::Float), (|| matmul_shape(context.shape(0)?, context.shape(1)?))())
}

fn qlinear_matmul(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(7), (|| matmul_shape(context.shape(0)?, context.shape(3)?))())
}

fn matmul_n_bits(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let mut shape = context.shape(0)?.to_vec();
        *shape.last_mut()? = Dim::Known(context.op.int("N")?);
        Some(shape)
    })();
    one(context.elem(0), shape)
}

fn fused_matmul(context: &Context<'_>) -> Vec<Inferred> {
    let flag = |name: &str| context.op.int(name).unwrap_or(0) != 0;
    let shape = (|| {
        if flag("transBatchA") || flag("transBatchB") {
            return None;
        }
        let turned = |index: usize, turn: bool| {
            let mut shape = context.shape(index)?.to_vec();
            let rank = shape.len();
            if turn && rank >= 2 {
                shape.swap(rank - 1, rank - 2);
            }
            Some(shape)
        };
        matmul_shape(&turned(0, flag("transA"))?, &turned(1, flag("transB"))?)
    })();
    one(context.elem(0), shape)
}

fn gemm(context: &Context<'_>) -> Vec<Inferred> {
    let flag = |name: &str| usize::from(context.op.int(name).unwrap_or(0) != 0);
    let shape = (|| {
        let (a, b) = (context.shape(0)?, context.shape(1)?);
        if a.len() != 2 || b.len() != 2 {
            return None;
        }
        Some(vec![a[flag("transA")].clone(), b[1 - flag("transB")].clone()])
    })();
    one(context.elem(0), shape)
}

/// The window of a convolution or pooling.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
    auto_pad: String,
    ceil: bool,
}

impl Window {
    fn of(context: &Context<'_>, kernel: Vec<i64>) -> Self {
        let n = kernel.len();
        let list = |name: &str, default: i64, n: usize| {
            context.op.ints(name).filter(|values| values.len() == n).map_or_else(|| vec![default; n], <[i64]>::to_vec)
        };
        Self {
            strides: list("strides", 1, n),
            dilations: list("dilations", 1, n),
            pads: list("pads", 0, 2 * n),
            auto_pad: context.op.string("auto_pad").unwrap_or("NOTSET").to_owned(),
            ceil: context.op.int("ceil_mode").unwrap_or(0) != 0,
            kernel,
        }
    }

    fn output(&self, axis: usize, dim: &Dim) -> Dim {
        let Some(size) = dim_value(dim) else { return Dim::Unknown };
        let (stride, n) = (i128::from(self.strides[axis].max(1)), self.kernel.len());
        let size = i128::from(size);
        let effective = (i128::from(self.kernel[axis]) - 1) * i128::from(self.dilations[axis]) + 1;
        if self.auto_pad.starts_with("SAME") {
            return sized((size + stride - 1) / stride);
        }
        let [before, after] = [self.pads[axis], self.pads[axis + n]].map(i128::from);
        let pads = if self.auto_pad == "VALID" { 0 } else { before + after };
        let room = size + pads - effective;
        let steps = if self.ceil { (room + stride - 1).div_euclid(stride) } else { room.div_euclid(stride) };
        let mut result = steps + 1;
        if self.ceil && (result - 1) * stride >= size + before {
            result -= 1;
        }
        sized(result)
    }
}

fn conv_shape(context: &Context<'_>, x: usize, w: usize) -> Option<Vec<Dim>> {
    let (input, weight) = (context.shape(x)?, context.shape(w)?);
    if input.len() < 3 || weight.len() != input.len() {
        return None;
    }
    let kernel = match context.op.ints("kernel_shape") {
        Some(kernel) => kernel.to_vec(),
        None => weight[2..].iter().map(dim_value).collect::<Option<_>>()?,
    };
    if kernel.len() + 2 != input.len() {
        return None;
    }
    let window = Window::of(context, kernel);
    let mut shape = vec![input[0].clone(), weight[0].clone()];
    shape.extend(input[2..].iter().enumerate().map(|(axis, dim)| window.output(axis, dim)));
    Some(shape)
}

fn conv(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), conv_shape(context, 0, 1))
}

fn conv_integer(context: &Context<'_>) -> Vec<Inferred> {
    one(Some(DataType::Int32), conv_shape(context, 0, 1))
}

fn qlinear_conv(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(7), conv_shape(context, 0, 3))
}

fn pool_shape(context: &Context<'_>) -> Option<Vec<Dim>> {
    let input = context.shape(0)?;
    let kernel = context.op.ints("kernel_shape")?.to_vec();
    if kernel.len() + 2 != input.len() {
        return None;
    }
    let window = Window::of(context, kernel);
    let mut shape = input[..2].to_vec();
    shape.extend(input[2..].iter().enumerate().map(|(axis, dim)| window.output(axis, dim)));
    Some(shape)
}

pub(super) fn pool(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), pool_shape(context))
}

fn max_pool(context: &Context<'_>) -> Vec<Inferred> {
    let shape = pool_shape(context);
    vec![Inferred { elem: context.elem(0), shape: shape.clone() }, Inferred { elem: Some(DataType::Int64), shape }]
}

fn conv_transpose(context: &Context<'_>) -> Vec<Inferred> {
    let shape = (|| {
        let (input, weight) = (context.shape(0)?, context.shape(1)?);
        let n = input.len().checked_sub(2)?;
        let kernel: Vec<i64> = match context.op.ints("kernel_shape") {
            Some(kernel) => kernel.to_vec(),
            None => weight.get(2..)?.iter().map(dim_value).collect::<Option<_>>()?,
        };
        if kernel.len() != n || context.op.ints("output_shape").is_some() {
            return None;
        }
        let window = Window::of(context, kernel);
        let extra = context.op.ints("output_padding").map_or_else(|| vec![0; n], <[i64]>::to_vec);
        let group = context.op.int("group").unwrap_or(1);
        let channels =
            dim_value(weight.get(1)?).map_or(Dim::Unknown, |value| sized(i128::from(value) * i128::from(group)));
        let mut shape = vec![input[0].clone(), channels];
        for axis in 0..n {
            let wide = |list: &[i64], at: usize| i128::from(list.get(at).copied().unwrap_or(0));
            let pads = wide(&window.pads, axis) + wide(&window.pads, axis + n);
            let effective = (wide(&window.kernel, axis) - 1) * wide(&window.dilations, axis) + 1;
            let stride = wide(&window.strides, axis);
            shape.push(dim_value(&input[axis + 2]).map_or(Dim::Unknown, |size| {
                let size = i128::from(size);
                if window.auto_pad.starts_with("SAME") {
                    return sized(size * stride);
                }
                sized(stride * (size - 1) + wide(&extra, axis) + effective - pads)
            }));
        }
        Some(shape)
    })();
    one(context.elem(0), shape)
}

fn global_pool(context: &Context<'_>) -> Vec<Inferred> {
    let shape = context.shape(0).filter(|shape| shape.len() >= 2).map(|shape| {
        let mut result = shape[..2].to_vec();
        result.resize(shape.len(), Dim::Known(1));
        result
    });
    one(context.elem(0), shape)
}

/// Einsum without an ellipsis: the letters of the output name dimensions of the inputs.
fn einsum(context: &Context<'_>) -> Vec<Inferred> {
    let shapes: Option<Vec<&[Dim]>> = (0..context.op.inputs.len()).map(|at| context.shape(at)).collect();
    let equation = context.op.string("equation").unwrap_or_default();
    one(context.elem(0), shapes.and_then(|shapes| einsum_dims(equation, &shapes, dim_value)))
}
