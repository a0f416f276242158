//! Attention, in ONNX's own form and in ONNX Runtime's many.

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::elementwise::same;

pub(super) const TABLE: &[Entry] = &[
    ("", "Attention", attention),
    ("ai.onnx.preview", "FlexAttention", attention),
    ("", "RotaryEmbedding", same),
    ("", "LinearAttention", linear),
    ("", "CausalConvWithState", causal_convolution),
    ("", "SwiGLU", same),
    (MICROSOFT, "LinearAttention", linear),
    (MICROSOFT, "LinearAttentionGate", linear_gate),
    (MICROSOFT, "CausalConvWithState", causal_convolution),
    (MICROSOFT, "RotaryEmbedding", same),
    (MICROSOFT, "MRotaryEmbedding", same),
    (MICROSOFT, "GemmaRotaryEmbedding", gemma_rotary),
    (MICROSOFT, "LongformerAttention", same),
    (MICROSOFT, "QOrderedLongformerAttention", same),
    (MICROSOFT, "Attention", |c| self_attention(c, 4)),
    (MICROSOFT, "DecoderMaskedSelfAttention", |c| self_attention(c, 4)),
    (MICROSOFT, "QAttention", |c| self_attention(c, 8)),
    (MICROSOFT, "QOrderedAttention", ordered_attention),
    (MICROSOFT, "PackedAttention", packed_attention),
    (MICROSOFT, "MultiHeadAttention", |c| multi_head(c, 6)),
    (MICROSOFT, "DecoderMaskedMultiHeadAttention", |c| multi_head(c, 5)),
    (MICROSOFT, "PackedMultiHeadAttention", packed_multi_head),
    (MICROSOFT, "GroupQueryAttention", |c| group_query(c, c.flag("sliding_window_cache"))),
    (MICROSOFT, "SparseAttention", |c| group_query(c, true)),
    (MICROSOFT, "PagedAttention", paged),
    (MICROSOFT, "DecoderAttention", decoder),
    (MICROSOFT, "RelativePositionBias", relative_position),
    (MICROSOFT, "GatedRelativePositionBias", gated_relative_position),
    (MICROSOFT, "RemovePadding", remove_padding),
    (MICROSOFT, "RestorePadding", restore_padding),
    (MICROSOFT, "EmbedLayerNormalization", |c| embed(c, 2, 5)),
    (MICROSOFT, "QEmbedLayerNormalization", |c| embed(c, 2, 8)),
];

fn number(number: i64) -> Option<Expr> {
    Some(Expr::constant(number))
}

fn heads(context: &RuleContext<'_, '_>, name: &str) -> Option<Expr> {
    context.node.int(name).filter(|heads| *heads > 0).map(Expr::constant)
}

/// Inputs are [batch, heads, length, size] or [batch, length, heads·size].
fn attention(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    let (key_type, value_type) = (context.element_type(1), context.element_type(2));
    for (output, element_type) in [element_type, key_type, value_type, element_type].into_iter().enumerate() {
        let rank = if output == 0 { context.rank(0) } else { Some(4) };
        context.set(output, element_type, rank.map(|rank| vec![None; rank]));
    }
    let (query, key, value) = (context.shape(0)?, context.shape(1)?, context.shape(2)?);
    let (query_heads, kv_heads) = (heads(context, "q_num_heads"), heads(context, "kv_num_heads"));
    let split = |shape: &[Expr], heads: &Option<Expr>| -> Option<[Option<Expr>; 4]> {
        match shape {
            [batch, heads, length, size] => {
                Some([Some(batch.clone()), Some(heads.clone()), Some(length.clone()), Some(size.clone())])
            }
            [batch, length, hidden] => {
                let size = heads.as_ref().and_then(|heads| hidden.floor_div(heads));
                Some([Some(batch.clone()), heads.clone(), Some(length.clone()), size])
            }
            _ => None,
        }
    };
    let [batch, query_heads, query_length, _] = split(query, &query_heads)?;
    let [_, kv_heads, kv_length, key_size] = split(key, &kv_heads)?;
    let [_, _, _, value_size] = split(value, &kv_heads)?;
    let dims = match query.len() {
        4 => vec![batch.clone(), query_heads.clone(), query_length.clone(), value_size.clone()],
        _ => {
            let hidden = query_heads.as_ref().zip(value_size.as_ref()).and_then(|(heads, size)| heads.mul(size));
            vec![batch.clone(), query_length.clone(), hidden]
        }
    };
    context.set(0, element_type, Some(dims));
    let total = match context.input(4) {
        Some(_) => context.dim(4, 2).zip(kv_length).and_then(|(past, new)| past.add(&new)),
        None => kv_length,
    };
    context.set(1, key_type, Some(vec![batch.clone(), kv_heads.clone(), total.clone(), key_size]));
    context.set(2, value_type, Some(vec![batch.clone(), kv_heads, total.clone(), value_size]));
    context.set(3, element_type, Some(vec![batch, query_heads, query_length, total]));
    Some(())
}

fn linear(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    let state_type = context.element_type(3).or(element_type);
    context.set(0, element_type, Some(vec![None; 3]));
    context.set(1, state_type, None);
    let (query_heads, kv_heads) = (heads(context, "q_num_heads"), heads(context, "kv_num_heads"));
    let value_size = context.dim(2, 2).zip(kv_heads.as_ref()).and_then(|(hidden, heads)| hidden.floor_div(heads));
    let key_size = context.dim(0, 2).zip(query_heads.as_ref()).and_then(|(hidden, heads)| hidden.floor_div(heads));
    let most_heads = query_heads.zip(kv_heads.as_ref()).and_then(|(query, kv)| query.larger(kv));
    let hidden = most_heads.zip(value_size.as_ref()).and_then(|(heads, size)| heads.mul(size));
    context.set(0, element_type, Some(vec![context.dim(0, 0), context.dim(0, 1), hidden]));
    let mut state = vec![context.dim(0, 0), kv_heads, key_size, value_size];
    windowed(context, &mut state);
    context.set(1, state_type, Some(state));
    Some(())
}

/// A state that is kept for the last so many positions has one more axis in front.
fn windowed(context: &RuleContext<'_, '_>, state: &mut Dims) {
    let window = context.int("state_window", 0);
    if window > 0 {
        state.insert(0, number(window));
    }
}

fn linear_gate(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    context.set_like(1, context.element_type(0), if context.input(3).is_some() { 3 } else { 0 });
    Some(())
}

fn causal_convolution(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    let (input, weight) = (context.shape(0)?, context.shape(1)?);
    let kept = input.len().checked_sub(1)?;
    let mut state: Dims = input[..kept].iter().cloned().map(Some).collect();
    state.push(weight.last()?.plus(-1));
    windowed(context, &mut state);
    context.set(1, context.element_type(0), Some(state));
    Some(())
}

fn gemma_rotary(context: &mut RuleContext<'_, '_>) -> Option<()> {
    for output in 0..2 {
        context.set_like(output, context.element_type(1), 1);
    }
    Some(())
}

/// The hidden size of the values: an attribute, or a third of the projection.
fn value_hidden(context: &RuleContext<'_, '_>) -> Option<Expr> {
    match context.node.ints("qkv_hidden_sizes") {
        Some([_, _, value]) => number(*value),
        _ => context.dim(2, 0).or_else(|| context.dim(1, 1))?.floor_div(&Expr::constant(3)),
    }
}

fn self_attention(context: &mut RuleContext<'_, '_>, past: usize) -> Option<()> {
    // QAttention's third input is the float bias; without it the type is the scale's.
    let element_type = if context.node.op_type == "QAttention" { context.element_type(3) } else { None };
    let element_type = element_type.or(context.element_type(2)).or(context.element_type(0));
    context.set(0, element_type, Some(vec![None; 3]));
    context.set(1, element_type, Some(vec![None; 5]));
    let (batch, length) = (context.dim(0, 0), context.dim(0, 1));
    let hidden = value_hidden(context);
    context.set(0, element_type, Some(vec![batch.clone(), length.clone(), hidden.clone()]));
    let heads = heads(context, "num_heads");
    let size = hidden.zip(heads.as_ref()).and_then(|(hidden, heads)| hidden.floor_div(heads));
    let present = match context.shape(past) {
        Some(shape) if context.flag("past_present_share_buffer") => shape.iter().cloned().map(Some).collect(),
        Some([two, batch, heads, before, size]) => {
            let total = length.and_then(|length| before.add(&length));
            vec![Some(two.clone()), Some(batch.clone()), Some(heads.clone()), total, Some(size.clone())]
        }
        _ => vec![number(2), batch, heads, length, size],
    };
    context.set(1, element_type, Some(present));
    Some(())
}

fn ordered_attention(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    // The weights of queries, keys and values come apart; the values' have the output's width.
    let hidden = context.dim(7, 1);
    context.set(0, element_type, Some(vec![context.dim(0, 0), context.dim(0, 1), hidden]));
    Some(())
}

fn packed_attention(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let hidden = value_hidden(context);
    context.set(0, context.element_type(0), Some(vec![context.dim(0, 0), hidden]));
    Some(())
}

fn multi_head(context: &mut RuleContext<'_, '_>, past: usize) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, Some(vec![None; 3]));
    for output in 1..4 {
        context.set(output, element_type, Some(vec![None; 4]));
    }
    let query = context.shape(0)?;
    let heads = heads(context, "num_heads");
    let (batch, length) = (query.first().cloned(), query.get(1).cloned());
    let product = |a: &Expr, b: &Expr| a.mul(b);
    // What each new key and value adds: its length, and the hidden sizes of keys and values.
    let (new_length, key_hidden, value_hidden) = match (query, context.shape(1), context.shape(2)) {
        ([_, length, heads, _, size], ..) => (Some(length.clone()), product(heads, size), product(heads, size)),
        (_, Some([_, new, heads, _, size]), None) => (Some(new.clone()), product(heads, size), product(heads, size)),
        (_, key, Some([_, heads, new, size])) => {
            let key_hidden = key.and_then(|key| product(key.get(1)?, key.get(3)?));
            (Some(new.clone()), key_hidden, product(heads, size))
        }
        ([_, _, hidden], key, Some([_, new, value])) => {
            let key_hidden = key.and_then(|key| key.get(2).cloned()).or(Some(hidden.clone()));
            (Some(new.clone()), key_hidden, Some(value.clone()))
        }
        // All three packed along the last axis.
        ([_, length, hidden], None, None) => {
            let third = hidden.floor_div(&Expr::constant(3));
            (Some(length.clone()), third.clone(), third)
        }
        _ => (None, None, None),
    };
    context.set(0, element_type, Some(vec![batch.clone(), length.clone(), value_hidden.clone()]));
    // A key of four axes is whole already: cross attention, nothing of the past is put before it.
    let is_whole = context.rank(1) == Some(4);
    let shares = context.flag("past_present_share_buffer") || (past == 6 && context.input(8).is_some());
    let total = match context.shape(past) {
        Some(past) if shares => past.get(2).cloned(),
        Some(past) if !is_whole => new_length.and_then(|new| past.get(2)?.add(&new)),
        _ => new_length,
    };
    let size = |hidden: Option<Expr>| hidden?.floor_div(heads.as_ref()?);
    context.set(1, element_type, Some(vec![batch.clone(), heads.clone(), total.clone(), size(key_hidden)]));
    context.set(2, element_type, Some(vec![batch.clone(), heads.clone(), total.clone(), size(value_hidden)]));
    context.set(3, element_type, Some(vec![batch, heads, length, total]));
    Some(())
}

fn packed_multi_head(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, Some(vec![None, None]));
    let hidden = match context.shape(0)? {
        [_, heads, _, size] => heads.mul(size),
        _ => context.dim(2, 1),
    };
    context.set(0, element_type, Some(vec![context.dim(0, 0), hidden]));
    Some(())
}

fn group_query(context: &mut RuleContext<'_, '_>, keeps_buffer: bool) -> Option<()> {
    let element_type = context.element_type(0);
    let (key_type, value_type) = (context.element_type(3).or(element_type), context.element_type(4).or(element_type));
    for (output, element_type) in [(1, key_type), (2, value_type), (3, element_type)] {
        context.set(output, element_type, Some(vec![None; 4]));
    }
    let query_heads = heads(context, "num_heads");
    let kv_heads = heads(context, "kv_num_heads");
    let (batch, length, hidden) = (context.dim(0, 0), context.dim(0, 1), context.dim(0, 2));
    let is_packed = context.input(2).is_none();
    let n_rows = match (&query_heads, &kv_heads) {
        (Some(query), Some(kv)) if is_packed => query.add(&kv.scale(2)?),
        (query, _) => query.clone(),
    };
    let size = hidden.zip(n_rows).and_then(|(hidden, rows)| hidden.floor_div(&rows));
    let output_hidden = size.as_ref().zip(query_heads.as_ref()).and_then(|(size, heads)| size.mul(heads));
    context.set(0, element_type, Some(vec![batch.clone(), length.clone(), output_hidden]));
    let total = context.int_input(6);
    let new_length = if is_packed { length.clone() } else { context.dim(1, 1) };
    let present = match (context.dim(3, 2), &total) {
        (Some(buffer), _) if keeps_buffer => Some(buffer),
        (Some(buffer), Some(total)) => buffer.larger(total),
        // The buffer grows unless it was made long enough: what a caller gets without one.
        (Some(buffer), None) if buffer.is(0) => new_length.and_then(|new| buffer.add(&new)),
        (Some(buffer), None) => {
            let most = new_length.and_then(|new| buffer.add(&new));
            Some(context.data_dependent_dim(1, 2, most))
        }
        (None, Some(total)) => Some(total.clone()),
        (None, None) => new_length,
    };
    let cache = |like: usize| {
        let cached = context.dim(like, 3).or_else(|| size.clone());
        vec![batch.clone(), context.dim(like, 1).or_else(|| kv_heads.clone()), present.clone(), cached]
    };
    let (key, value) = (cache(3), cache(4));
    context.set(1, key_type, Some(key));
    context.set(2, value_type, Some(value));
    context.set(3, element_type, Some(vec![batch, query_heads, length, total.or(present)]));
    Some(())
}

fn paged(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, Some(vec![None, None]));
    for (output, input) in [(1, 3), (2, 4)] {
        context.set_like(output, context.element_type(input), input);
    }
    let (tokens, hidden) = (context.dim(0, 0), context.dim(0, 1)?);
    let query_heads = heads(context, "num_heads")?;
    let is_latent = context.node.string("kv_cache_layout") == Some("LATENT");
    let hidden = match (is_latent, context.node.int("v_head_size").filter(|size| *size > 0), context.input(2)) {
        (true, Some(size), _) => query_heads.scale(size),
        (true, None, _) | (false, _, Some(_)) => Some(hidden),
        (false, _, None) => {
            let rows = query_heads.add(&heads(context, "kv_num_heads")?.scale(2)?)?;
            hidden.floor_div(&rows)?.mul(&query_heads)
        }
    };
    context.set(0, element_type, Some(vec![tokens, hidden]));
    Some(())
}

fn decoder(context: &mut RuleContext<'_, '_>) -> Option<()> {
    same(context)?;
    let element_type = context.element_type(0);
    // [length, batch, hidden] in, caches as [batch, heads, length, size].
    for output in 1..3 {
        context.set(output, element_type, Some(vec![context.dim(0, 1), heads(context, "num_heads"), None, None]));
    }
    let size = context.dim(0, 2)?.floor_div(&heads(context, "num_heads")?);
    let flag = |input: usize| context.input(input).and_then(|fact| fact.scalar()).and_then(|scalar| scalar.is_true());
    let total = match (flag(8), flag(10)) {
        (Some(true), _) => context.dim(1, 0),
        (Some(false), Some(false)) => context.dim(0, 0),
        (Some(false), Some(true)) => context.dim(6, 2).zip(context.dim(0, 0)).and_then(|(past, new)| past.add(&new)),
        _ => None,
    };
    for output in 1..3 {
        let dims = vec![context.dim(0, 1), heads(context, "num_heads"), total.clone(), size.clone()];
        context.set(output, element_type, Some(dims));
    }
    Some(())
}

fn relative_position(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let dims = vec![number(1), context.dim(0, 1), context.int_input(1), context.int_input(2)];
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}

fn gated_relative_position(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let source = if context.input(6).is_some() { 6 } else { 0 };
    let (batch, length) = (context.dim(source, 0), context.dim(source, 1));
    let dims = vec![batch, heads(context, "num_heads"), length.clone(), length];
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}

fn remove_padding(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let (batch, length, hidden) = (context.dim(0, 0), context.dim(0, 1), context.dim(0, 2));
    let most = batch.as_ref().zip(length.as_ref()).and_then(|(batch, length)| batch.mul(length));
    let n_tokens = context.data_dependent_dim(0, 0, most);
    let index_type = context.element_type(1);
    context.set(0, context.element_type(0), Some(vec![Some(n_tokens), hidden]));
    let n_ends = batch.as_ref().and_then(|batch| batch.plus(1));
    context.set(1, index_type, Some(vec![batch, length]));
    context.set(2, index_type, Some(vec![n_ends]));
    context.set(3, index_type, Some(vec![number(1)]));
    Some(())
}

fn restore_padding(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let dims = vec![context.dim(1, 0), context.dim(1, 1), context.dim(0, 1)];
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}

fn embed(context: &mut RuleContext<'_, '_>, table: usize, scale: usize) -> Option<()> {
    // The quantized form has the type of a scale, which comes after the eight tensors.
    let is_quantized = context.node.op_type.starts_with('Q');
    let element_type = if is_quantized { context.element_type(scale) } else { context.element_type(table) };
    let (batch, length) = (context.dim(0, 0), context.dim(0, 1));
    let dims = vec![batch.clone(), length, context.dim(table, 1)];
    context.set(0, element_type, Some(dims.clone()));
    context.set(1, context.element_type(0), Some(vec![batch]));
    context.set(2, element_type, Some(dims));
    Some(())
}
