//! Quantised operators and attention of `com.microsoft` (`quantization_defs.cc`, `bert_defs.cc`).

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;

use super::{Context, Inferred, Rule, broadcast, dim_value, layout, linear, one, reduce, same};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("QLinearSigmoid", same::same),
    ("QLinearLeakyRelu", same::same),
    ("QLinearSoftmax", same::same),
    ("QLinearAdd", arithmetic),
    ("QLinearMul", arithmetic),
    ("QLinearWhere", choose),
    ("QLinearConcat", concat),
    ("QLinearReduceMean", reduce::reduce),
    ("QLinearGlobalAveragePool", global_pool),
    ("QLinearAveragePool", pool),
    ("QGemm", gemm),
    ("EmbedLayerNormalization", embed),
    ("QEmbedLayerNormalization", embed),
    ("Attention", attention),
    ("QAttention", attention),
    ("MultiHeadAttention", multi_head),
    ("GroupQueryAttention", group_query),
    ("RotaryEmbedding", same::same),
    ("BiasAdd", same::same),
    ("GroupNorm", same::same),
];

fn of(context: &Context<'_>, positions: &[usize]) -> Option<Vec<Dim>> {
    let shapes: Option<Vec<&[Dim]>> = positions.iter().map(|&at| context.shape(at)).collect();
    broadcast(&shapes?)
}

fn arithmetic(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(0), of(context, &[0, 3]))
}

fn choose(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(1), of(context, &[0, 1, 4]))
}

/// Scale and zero point of the result, then every part with its own.
fn concat(context: &Context<'_>) -> Vec<Inferred> {
    one(context.elem(2), layout::joined(context, 2, 3))
}

fn global_pool(context: &Context<'_>) -> Vec<Inferred> {
    let last = context.op.int("channels_last").unwrap_or(0) != 0;
    let shape = context.shape(0).filter(|shape| shape.len() >= 2).map(|shape| {
        let mut shape = shape.to_vec();
        let sides = if last { 1..shape.len() - 1 } else { 2..shape.len() };
        shape[sides].fill(Dim::Known(1));
        shape
    });
    one(context.elem(0), shape)
}

fn pool(context: &Context<'_>) -> Vec<Inferred> {
    if context.op.int("channels_last").unwrap_or(0) != 0 {
        return one(context.elem(0), None);
    }
    linear::pool(context)
}

fn gemm(context: &Context<'_>) -> Vec<Inferred> {
    let side = |position: usize, name: &str, side: usize| {
        let [rows, columns] = context.shape(position)? else { return None };
        let turned = context.op.int(name).unwrap_or(0) != 0;
        Some(if turned == (side == 0) { columns.clone() } else { rows.clone() })
    };
    let shape = side(0, "transA", 0).zip(side(3, "transB", 1)).map(|(rows, columns)| vec![rows, columns]);
    let elem = if context.input(8).is_some() { context.elem(8) } else { Some(DataType::Float) };
    one(elem, shape)
}

fn embed(context: &Context<'_>) -> Vec<Inferred> {
    let ids = context.shape(0).filter(|ids| ids.len() == 2);
    let rows = ids.zip(context.shape(2).and_then(|table| table.get(1))).map(|(ids, width)| {
        let mut rows = ids.to_vec();
        rows.push(width.clone());
        rows
    });
    let elem = if context.op.op_type == "EmbedLayerNormalization" { context.elem(2) } else { context.elem(8) };
    let index = ids.map(|ids| vec![ids[0].clone()]).filter(|_| context.op.int("mask_index_type").unwrap_or(1) > 0);
    vec![
        Inferred { elem, shape: rows.clone() },
        Inferred { elem: context.elem(0), shape: index },
        Inferred { elem, shape: rows },
    ]
}

/// The contributed operator; the standard's has its queries apart and no inference here.
fn attention(context: &Context<'_>) -> Vec<Inferred> {
    if context.op.domain.is_empty() {
        return Vec::new();
    }
    let width = match context.op.ints("qkv_hidden_sizes") {
        Some(&[_, _, width]) => Some(Dim::Known(width)),
        _ => context.shape(2).and_then(|bias| Some(Dim::Known(dim_value(bias.first()?).unwrap_or(0) / 3))),
    };
    let elem = if context.shape(2).is_some() { context.elem(2) } else { context.elem(0) };
    one(elem, wide(context, width))
}

/// Batch and length of a first input of three dimensions, this wide.
fn wide(context: &Context<'_>, width: Option<Dim>) -> Option<Vec<Dim>> {
    let [batch, rows, _] = context.shape(0)? else { return None };
    Some(vec![batch.clone(), rows.clone(), width?])
}

fn multi_head(context: &Context<'_>) -> Vec<Inferred> {
    let width = match context.shape(2) {
        Some([_, _, width]) => Some(width.clone()),
        Some([_, heads, _, width]) => {
            let product = dim_value(heads).zip(dim_value(width)).and_then(|(heads, width)| heads.checked_mul(width));
            Some(product.map_or(Dim::Unknown, Dim::Known))
        }
        _ => None,
    };
    one(context.elem(0), wide(context, width))
}

fn group_query(context: &Context<'_>) -> Vec<Inferred> {
    let width = context.shape(0).and_then(|queries| queries.get(2)).cloned();
    let width = if context.shape(2).is_some() {
        width
    } else {
        let (heads, keys) = (context.op.int("num_heads").unwrap_or(0), context.op.int("kv_num_heads").unwrap_or(0));
        let parts = heads.saturating_add(keys.saturating_mul(2));
        let head = width.as_ref().and_then(dim_value).and_then(|width| width.checked_div(parts));
        head.and_then(|head| head.checked_mul(heads)).map(Dim::Known)
    };
    one(context.elem(0), wide(context, width))
}
