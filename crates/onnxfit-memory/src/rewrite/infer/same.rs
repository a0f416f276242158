//! Operators that work element by element.

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::{Context, Inferred, Rule, broadcast, one};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Abs", same),
    ("Acos", same),
    ("Acosh", same),
    ("Asin", same),
    ("Asinh", same),
    ("Atan", same),
    ("Atanh", same),
    ("Ceil", same),
    ("Celu", same),
    ("Clip", same),
    ("Cos", same),
    ("Cosh", same),
    ("Elu", same),
    ("Erf", same),
    ("Exp", same),
    ("Floor", same),
    ("Gelu", same),
    ("HardSigmoid", same),
    ("HardSwish", same),
    ("Identity", same),
    ("LeakyRelu", same),
    ("Log", same),
    ("LogSoftmax", same),
    ("Mish", same),
    ("Neg", same),
    ("Not", same),
    ("Reciprocal", same),
    ("Relu", same),
    ("Round", same),
    ("Selu", same),
    ("Shrink", same),
    ("Sigmoid", same),
    ("Sign", same),
    ("Sin", same),
    ("Sinh", same),
    ("Softmax", same),
    ("Softplus", same),
    ("Softsign", same),
    ("Sqrt", same),
    ("Tan", same),
    ("Tanh", same),
    ("ThresholdedRelu", same),
    ("Hardmax", same),
    ("LRN", same),
    ("InstanceNormalization", same),
    ("GroupNormalization", same),
    ("LpNormalization", same),
    ("MeanVarianceNormalization", same),
    ("CumSum", same),
    ("Trilu", same),
    ("ReverseSequence", same),
    ("PRelu", same),
    ("ScatterND", same),
    ("ScatterElements", same),
    ("Scatter", same),
    ("Swish", same),
    ("QuickGelu", same),
    ("FastGelu", same),
    ("BiasGelu", same),
    ("LayerNormalization", layer_norm),
    ("SimplifiedLayerNormalization", layer_norm),
    ("RMSNormalization", same),
    ("SkipLayerNormalization", same),
    ("SkipSimplifiedLayerNormalization", same),
    ("BatchNormalization", batch_norm),
    ("Dropout", dropout),
    ("Add", arithmetic),
    ("Sub", arithmetic),
    ("Mul", arithmetic),
    ("Div", arithmetic),
    ("Mod", arithmetic),
    ("Pow", arithmetic),
    ("Max", arithmetic),
    ("Min", arithmetic),
    ("Sum", arithmetic),
    ("Mean", arithmetic),
    ("BitShift", arithmetic),
    ("BitwiseAnd", arithmetic),
    ("BitwiseOr", arithmetic),
    ("BitwiseXor", arithmetic),
    ("And", logic),
    ("Or", logic),
    ("Xor", logic),
    ("Equal", logic),
    ("Greater", logic),
    ("Less", logic),
    ("GreaterOrEqual", logic),
    ("LessOrEqual", logic),
    ("IsNaN", test),
    ("IsInf", test),
    ("Where", choose),
    ("Cast", cast),
    ("CastLike", cast_like),
    ("QuantizeLinear", quantize),
    ("DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", dynamic_quantize),
    ("RandomNormalLike", like),
    ("RandomUniformLike", like),
    ("Bernoulli", like),
    ("EyeLike", like),
];

fn shape_of_first(context: &Context<'_>) -> Option<Vec<Dim>> {
    context.shape(0).map(<[Dim]>::to_vec)
}

pub(super) fn same(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), shape_of_first(context))
}

fn layer_norm(context: &Context<'_>) -> Vec<Inferred> {
    // The output has the type of the scale.
    one(context.elem(1).or(context.elem(0)), shape_of_first(context))
}

/// In training mode the running statistics come out too (opset 14 and later).
fn batch_norm(context: &Context<'_>) -> Vec<Inferred> {
    let channels = (1..5).find_map(|index| context.shape(index)?.first().cloned());
    let statistics = |index| Inferred { elem: context.elem(index), shape: channels.clone().map(|dim| vec![dim]) };
    let mut all = same(context);
    if context.opset() >= 14 {
        all.extend([statistics(3), statistics(4)]);
    }
    all
}

fn dropout(context: &Context<'_>) -> Vec<Inferred> {
    let mask = if context.opset() >= 10 { Some(DataType::Bool) } else { context.elem(0) };
    vec![
        Inferred { elem: context.elem(0), shape: shape_of_first(context) },
        Inferred { elem: mask, shape: shape_of_first(context) },
    ]
}

fn broadcast_all(context: &Context<'_>, inputs: std::ops::Range<usize>) -> Option<Vec<Dim>> {
    let shapes: Option<Vec<&[Dim]>> = inputs.map(|index| context.shape(index)).collect();
    broadcast(&shapes?)
}

fn arithmetic(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), broadcast_all(context, 0..context.op.inputs.len()))
}

fn logic(context: &Context<'_>) -> Vec<Inferred> {
    one(Some(DataType::Bool), broadcast_all(context, 0..2))
}

fn test(context: &Context<'_>) -> Vec<Inferred> {
    one(Some(DataType::Bool), shape_of_first(context))
}

fn choose(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(1), broadcast_all(context, 0..3))
}

fn cast(context: &Context<'_>) -> Vec<Inferred> {
    let to = context.op.int("to").and_then(|to| DataType::from_number(i32::try_from(to).ok()?));
    one(to, shape_of_first(context))
}

fn cast_like(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(1), shape_of_first(context))
}

fn quantize(context: &Context<'_>) -> Vec<Inferred> {
    let stated = context.op.int("output_dtype").and_then(|to| DataType::from_number(i32::try_from(to).ok()?));
    one(context.elem(2).or(stated).or(Some(DataType::Uint8)), shape_of_first(context))
}

fn dequantize(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(1), shape_of_first(context))
}

fn dynamic_quantize(context: &Context<'_>) -> Vec<Inferred> {
    vec![
        Inferred { elem: Some(DataType::Uint8), shape: shape_of_first(context) },
        Inferred { elem: Some(DataType::Float), shape: Some(Vec::new()) },
        Inferred { elem: Some(DataType::Uint8), shape: Some(Vec::new()) },
    ]
}

fn like(context: &Context<'_>) -> Vec<Inferred> {
    let stated = context.op.int("dtype").and_then(|to| DataType::from_number(i32::try_from(to).ok()?));
    one(stated.or(context.elem(0)), shape_of_first(context))
}
