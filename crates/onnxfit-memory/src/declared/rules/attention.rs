//! Attention and what stands around it (`bert_defs.cc`, `shape_inference_functions.cc`, ORT 1.31).

use super::{Entry, elementwise, one};
use crate::declared::Shape;
use crate::declared::query::{Inferred, Query, known, number};
use crate::program::DeclaredDim;

const MS: &str = "com.microsoft";

pub(super) const RULES: &[Entry] = &[
    (MS, &["EmbedLayerNormalization", "QEmbedLayerNormalization"], embed),
    (MS, &["Attention"], |query| joined(query, 4)),
    (MS, &["QAttention"], |query| joined(query, 8)),
    (MS, &["PackedAttention"], packed),
    (MS, &["MultiHeadAttention"], |query| multi_head(query, 6)),
    (MS, &["DecoderMaskedMultiHeadAttention"], |query| multi_head(query, 5)),
    (MS, &["GroupQueryAttention"], group_query),
    (MS, &["RotaryEmbedding", "MRotaryEmbedding", "DecoderAttention"], elementwise::same),
    (MS, &["GemmaRotaryEmbedding"], gemma_rotary),
    (MS, &["RelativePositionBias"], relative_position_bias),
    (MS, &["RestorePadding"], restore_padding),
];

/// Rows as the words, as wide as their table; the mask's index by sequence; the sum.
fn embed(query: &Query<'_>) -> Vec<Inferred> {
    let ids = query.shape(0).filter(|ids| ids.len() == 2);
    let rows = ids.zip(query.shape(2).and_then(|table| table.get(1))).map(|(ids, width)| {
        let mut rows = ids.to_vec();
        rows.push(width.clone());
        rows
    });
    let element = if query.node.op_type == "EmbedLayerNormalization" { query.element(2) } else { query.element(8) };
    let index = ids.map(|ids| vec![ids[0].clone()]).filter(|_| query.node.int("mask_index_type", 1) > 0);
    vec![
        Inferred::new(element, rows.clone()),
        Inferred::new(query.element(0), index),
        Inferred::new(query.element(2), rows),
    ]
}

/// The width of the values: named, or a third of the bias.
fn value_width(query: &Query<'_>) -> Option<DeclaredDim> {
    match query.node.ints("qkv_hidden_sizes") {
        &[_, _, width] => Some(number(width)),
        // A dimension without a number counts as none.
        _ => query.shape(2).and_then(|bias| Some(DeclaredDim::Value(known(bias.first()?).unwrap_or(0) / 3))),
    }
}

/// `AttentionTypeAndShapeInference`: without a bias nothing is known.
fn joined(query: &Query<'_>, past: usize) -> Vec<Inferred> {
    let input = query.shape_of(0).filter(|shape| shape.len() == 3);
    let shape = input.clone().zip(query.shape(2).and_then(|_| value_width(query))).map(|(mut shape, width)| {
        shape[2] = width;
        shape
    });
    let element = if query.shape(2).is_some() { query.element(2) } else { query.element(0) };
    let present = query.shape_of(past).filter(|past| past.len() == 5 && shape.is_some()).zip(input);
    let present = present.and_then(|(past, input)| grown(query, past, 3, known(&input[1])?));
    vec![Inferred::new(element, shape), Inferred::new(element, present)]
}

/// A cache after so many rows more; unknown where it is one buffer for all.
fn grown(query: &Query<'_>, mut past: Shape, axis: usize, rows: u64) -> Option<Shape> {
    if query.node.int("past_present_share_buffer", 0) != 0 {
        return None;
    }
    past[axis] = DeclaredDim::Value(known(&past[axis])?.checked_add(rows)?);
    Some(past)
}

fn packed(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query.shape_of(0).filter(|shape| shape.len() == 2);
    let shape = shape.zip(query.shape(2).and_then(|_| value_width(query))).map(|(mut shape, width)| {
        shape[1] = width;
        shape
    });
    one(Inferred::new(query.element(0), shape))
}

fn multi_head(query: &Query<'_>, past: usize) -> Vec<Inferred> {
    let shape = query.shape(0).and_then(|queries| multi_head_shape(query, queries));
    let rows = query.shape(2).filter(|values| values.len() == 3).and_then(|values| known(&values[1]));
    let shared = query.shape(6).is_some() && query.shape(8).is_some();
    let present = query.shape_of(past).filter(|past| past.len() == 4 && !shared).zip(rows.filter(|rows| *rows > 0));
    let present = present.and_then(|(past, rows)| grown(query, past, 2, rows));
    let present = Inferred::new(query.element(0), present);
    vec![Inferred::new(query.element(0), shape), present.clone(), present]
}

fn multi_head_shape(query: &Query<'_>, queries: &[DeclaredDim]) -> Option<Shape> {
    let wide = |width: DeclaredDim| Some(vec![queries[0].clone(), queries[1].clone(), width]);
    match (queries, query.shape(2)) {
        ([_, _, heads, _, width], _) => wide(times(heads, width)),
        ([_, _, _], Some([_, _, width])) => wide(width.clone()),
        ([_, _, _], Some([_, heads, _, width])) => wide(times(heads, width)),
        ([_, _, _], None) if query.shape(1).is_some_and(|keys| keys.len() == 5) => Some(queries.to_vec()),
        _ => None,
    }
}

fn times(left: &DeclaredDim, right: &DeclaredDim) -> DeclaredDim {
    let product = known(left).zip(known(right)).and_then(|(left, right)| left.checked_mul(right));
    product.map_or(DeclaredDim::Unknown, DeclaredDim::Value)
}

/// Like the queries; packed, as wide as their heads. The caches keep what the past says.
fn group_query(query: &Query<'_>) -> Vec<Inferred> {
    let (heads, key_heads) = (query.node.int("num_heads", 0), query.node.int("kv_num_heads", 0));
    let queries = query.shape(0).filter(|queries| queries.len() == 3);
    let apart = query.shape(2).is_some();
    let parts = if apart { heads } else { heads.saturating_add(key_heads.saturating_mul(2)) };
    let width = queries.and_then(|queries| i64::try_from(known(&queries[2])?).ok()?.checked_div(parts));
    let shape = queries.map(|queries| match width {
        Some(width) if !apart => vec![queries[0].clone(), queries[1].clone(), number(width.saturating_mul(heads))],
        _ => queries.to_vec(),
    });
    let total = query.integers(6).and_then(|total| u64::try_from(*total.first()?).ok()).filter(|total| *total > 0);
    let present = match query.shape(3) {
        Some(past) if past.len() == 4 => {
            let rows = match (known(&past[2]), total) {
                (Some(past), Some(total)) if query.node.int("sliding_window_cache", 0) == 0 => {
                    DeclaredDim::Value(past.max(total))
                }
                (Some(0), None) => DeclaredDim::Unknown,
                _ => past[2].clone(),
            };
            Some(vec![past[0].clone(), past[1].clone(), rows, past[3].clone()])
        }
        _ => queries.zip(width.filter(|width| *width > 0 && key_heads > 0)).map(|(queries, width)| {
            let keys = if apart { query.shape(2).and_then(|values| values.get(1)) } else { Some(&queries[1]) };
            let rows = total.or_else(|| keys.and_then(known)).map_or_else(|| queries[1].clone(), DeclaredDim::Value);
            vec![queries[0].clone(), number(key_heads), rows, number(width)]
        }),
    };
    let element = if query.has(3) { query.element(3) } else { query.element(0) };
    let present = Inferred::new(element, present);
    vec![Inferred::new(query.element(0), shape), present.clone(), present]
}

fn gemma_rotary(query: &Query<'_>) -> Vec<Inferred> {
    let turned = Inferred::new(query.element(1), query.shape_of(1));
    vec![turned.clone(), turned]
}

fn relative_position_bias(query: &Query<'_>) -> Vec<Inferred> {
    let shape = query
        .shape(0)
        .and_then(|table| table.get(1))
        .map(|heads| vec![DeclaredDim::Value(1), heads.clone(), DeclaredDim::Unknown, DeclaredDim::Unknown]);
    one(Inferred::new(query.element(0), shape))
}

fn restore_padding(query: &Query<'_>) -> Vec<Inferred> {
    let shape = match (query.shape(0), query.shape(1)) {
        (Some([_, width]), Some([batch, rows])) => Some(vec![batch.clone(), rows.clone(), width.clone()]),
        _ => None,
    };
    one(Inferred::new(query.element(0), shape))
}
