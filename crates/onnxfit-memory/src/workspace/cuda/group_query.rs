//! Attention in which several query heads share keys and values.
//!
//! `contrib_ops/cuda/bert/group_query_attention.cc` (ORT 1.30-dev). The sequence so far is known at run
//! time only; the cache's capacity stands for it. The XQA kernel for single tokens, and quantized
//! caches, are not modelled.

use onnxfit_onnx::DataType;

use super::attention::{cudnn_plan, has_memory_efficient, on_every_card};
use super::flash::flash_buffers;
use super::{Call, Piece, aligned, product, sum};

struct Shape {
    element: DataType,
    batch: u64,
    queries: u64,
    n_heads: u64,
    n_key_heads: u64,
    head: u64,
    capacity: u64,
    is_packed: bool,
    rotates: bool,
    has_attention_bias: bool,
    has_window: bool,
    has_soft_cap: bool,
    has_smooth_softmax: bool,
}

/// `com.microsoft.GroupQueryAttention`.
pub(super) fn group_query(call: &Call<'_>) -> Option<Vec<Piece>> {
    let shape = shape(call)?;
    on_every_card(call, |capability| scratch(&shape, capability))
}

fn shape(call: &Call<'_>) -> Option<Shape> {
    let node = call.node;
    let query = call.input(0)?;
    let &[batch, queries, hidden] = query.dims.as_slice() else { return None };
    let heads = |name| u64::try_from(node.int(name, 0)).ok().filter(|n| *n > 0);
    let (n_heads, n_key_heads) = (heads("num_heads")?, heads("kv_num_heads")?);
    let is_packed = node.input(1).is_none();
    let head = hidden / if is_packed { n_heads.checked_add(n_key_heads.checked_mul(2)?)? } else { n_heads };
    let capacity = call.output(1).or(call.input(3)).and_then(|cache| cache.dims.get(2).copied());
    let is_set =
        |name: &str| matches!(node.attributes.get(name), Some(crate::program::Attribute::Float(x)) if *x != 0.0);
    Some(Shape {
        element: query.element,
        batch,
        queries,
        n_heads,
        n_key_heads,
        head,
        capacity: capacity.unwrap_or(queries),
        is_packed,
        rotates: node.int("do_rotary", 0) != 0,
        has_attention_bias: node.input(10).is_some(),
        has_window: node.int("local_window_size", -1) != -1,
        has_soft_cap: is_set("softcap"),
        has_smooth_softmax: node.int("smooth_softmax", 0) == 1 || node.input(11).is_some(),
    })
}

fn scratch(shape: &Shape, (major, minor): (u32, u32)) -> Option<Vec<Piece>> {
    let element_bytes = if shape.element == DataType::Float { 4 } else { 2 };
    let is_half = element_bytes == 2;
    let heads_fit =
        shape.head.is_multiple_of(8) && shape.head <= 256 && shape.n_heads.is_multiple_of(shape.n_key_heads);
    let query_bytes = product(&[shape.batch, shape.queries, shape.n_heads, shape.head, element_bytes])?;
    let transforms = shape.rotates || shape.is_packed;
    let transformed = Piece::exact("transformed queries", if transforms { query_bytes } else { 0 });
    let lengths = Piece::exact("sequence lengths", shape.batch.checked_mul(12)?);
    let uses_cudnn = major >= 9
        && is_half
        && heads_fit
        && !shape.has_attention_bias
        && !shape.has_window
        && !shape.has_soft_cap
        && !shape.has_smooth_softmax;
    if uses_cudnn {
        return Some(vec![lengths, transformed, cudnn_plan(shape.batch, shape.n_heads, shape.queries)?]);
    }
    if major >= 8 && is_half && heads_fit && !shape.has_attention_bias {
        let split =
            flash_buffers((major, minor), shape.batch, shape.n_heads, shape.queries, shape.capacity, shape.head)?;
        return Some(split.into_iter().chain([lengths, transformed]).collect());
    }
    let sm = major * 10 + minor;
    if !shape.has_attention_bias && has_memory_efficient(sm, shape.element, shape.head, shape.head) {
        let expands = shape.n_heads != shape.n_key_heads;
        let expanded = product(&[shape.batch, shape.n_heads, shape.capacity, shape.head, element_bytes])?;
        let expanded = if expands { expanded } else { 0 };
        let accumulates = shape.head > 128 && is_half;
        let sums = product(&[shape.batch, shape.queries, shape.n_heads, shape.head, 4])?;
        // Keys are rotated too, and unpacked with the values.
        let n_others = if shape.is_packed { 2 } else { u64::from(shape.rotates) };
        let key_bytes = product(&[shape.batch, shape.queries, shape.n_key_heads, shape.head, element_bytes, n_others])?;
        let all_bytes = if transforms { query_bytes.checked_add(key_bytes)? } else { 0 };
        return Some(vec![
            lengths,
            Piece::exact("expanded keys", expanded),
            Piece::exact("expanded values", expanded),
            Piece::exact("output accumulator", if accumulates { sums } else { 0 }),
            Piece::exact("transformed queries and keys", all_bytes),
        ]);
    }
    let scores = aligned(product(&[shape.batch, shape.n_heads, shape.queries, shape.capacity, 4])?)?;
    let unfused = sum(&[aligned(query_bytes)?.checked_mul(2)?, scores.checked_mul(2)?])?;
    Some(vec![lengths, transformed, Piece::exact("unfused attention", unfused)])
}
