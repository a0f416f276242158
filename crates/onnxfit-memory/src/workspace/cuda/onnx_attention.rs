//! The standard's own `Attention` (opset 23 and 24).
//!
//! `core/providers/cuda/llm/attention.cc` (ORT 1.30-dev): flash, then memory-efficient, then unfused with
//! scores in fp32 whatever the element type.

use onnxfit_onnx::DataType;

use super::attention::{has_memory_efficient, on_every_card};
use super::flash::flash_buffers;
use super::{Call, Piece, aligned, product};

struct Shape {
    element: DataType,
    batch: u64,
    queries: u64,
    /// Keys that this call adds.
    keys: u64,
    total_keys: u64,
    n_heads: u64,
    n_key_heads: u64,
    head: u64,
    value_head: u64,
    /// `[batch, heads, sequence, head]` rather than `[batch, sequence, hidden]`.
    heads_first: bool,
    mask: Option<DataType>,
    mask_elements: u64,
    has_past: bool,
    has_present: bool,
    has_score_output: bool,
    causal: bool,
}

pub(super) fn standard(call: &Call<'_>) -> Option<Vec<Piece>> {
    let shape = shape(call)?;
    on_every_card(call, |capability| scratch(&shape, capability))
}

fn shape(call: &Call<'_>) -> Option<Shape> {
    let node = call.node;
    let (query, key, value) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let heads = |name| u64::try_from(node.int(name, 0)).ok().filter(|n| *n > 0);
    let heads_first = query.dims.len() == 4;
    let (batch, n_heads, queries, head) = match *query.dims.as_slice() {
        [batch, n_heads, queries, head] => (batch, n_heads, queries, head),
        [batch, queries, hidden] => (batch, heads("q_num_heads")?, queries, hidden / heads("q_num_heads")?),
        _ => return None,
    };
    let (n_key_heads, keys) = match *key.dims.as_slice() {
        [_, n_key_heads, keys, _] => (n_key_heads, keys),
        [_, keys, _] => (heads("kv_num_heads")?, keys),
        _ => return None,
    };
    let value_head = if value.dims.len() == 4 { value.dims[3] } else { value.dims.get(2)? / n_key_heads.max(1) };
    let past = call.input(4).and_then(|past| past.dims.get(2).copied()).unwrap_or(0);
    let mask = call.input(3);
    Some(Shape {
        element: query.element,
        batch,
        queries,
        keys,
        total_keys: past.checked_add(keys)?,
        n_heads,
        n_key_heads,
        head,
        value_head,
        heads_first,
        mask: node.input(3).map(|_| mask.map_or(DataType::Bool, |mask| mask.element)),
        mask_elements: mask.map_or(Some(0), crate::sizes::TensorSize::n_elements)?,
        has_past: node.input(4).is_some(),
        has_present: node.output(1).is_some(),
        has_score_output: node.output(3).is_some(),
        causal: node.int("is_causal", 0) != 0,
    })
}

fn scratch(shape: &Shape, capability: (u32, u32)) -> Option<Vec<Piece>> {
    let (major, minor) = capability;
    let element_bytes = if shape.element == DataType::Float { 4 } else { 2 };
    let per_query = |head: u64| product(&[shape.batch, shape.queries, shape.n_heads, head, element_bytes]);
    let per_key = |n_keys: u64, head: u64| product(&[shape.batch, n_keys, shape.n_key_heads, head, element_bytes]);
    let (query_bytes, output_bytes) = (per_query(shape.head)?, per_query(shape.value_head)?);
    let transposed = |wanted: bool, bytes: u64| if wanted { bytes } else { 0 };
    let same_heads = shape.head == shape.value_head;
    let crosses = shape.causal && shape.queries != shape.total_keys && !shape.has_past;
    let is_half = element_bytes == 2;
    let groups = shape.n_heads != shape.n_key_heads;
    let new_keys = if shape.has_past && shape.heads_first {
        [per_key(shape.keys, shape.head)?, per_key(shape.keys, shape.value_head)?]
    } else {
        [0, 0]
    };
    let queries_and_output = [
        Piece::exact("transposed queries", transposed(shape.heads_first, query_bytes)),
        Piece::exact("transposed output", transposed(shape.heads_first, output_bytes)),
        Piece::exact("sequence lengths", shape.batch.checked_mul(4)?),
        Piece::exact("transposed keys", new_keys[0]),
        Piece::exact("transposed values", new_keys[1]),
    ];
    let heads_fit =
        shape.head.is_multiple_of(8) && shape.head <= 256 && shape.n_heads.is_multiple_of(shape.n_key_heads.max(1));
    if major >= 8 && is_half && heads_fit && same_heads && !shape.has_score_output && !crosses && shape.mask.is_none() {
        let buffers =
            flash_buffers(capability, shape.batch, shape.n_heads, shape.queries, shape.total_keys, shape.head)?;
        return Some(buffers.into_iter().chain(queries_and_output).collect());
    }
    let mask_fits = shape.mask.is_none() || shape.total_keys.is_multiple_of(4);
    let efficient = has_memory_efficient(major * 10 + minor, shape.element, shape.head, shape.value_head)
        && !shape.has_score_output
        && mask_fits
        && (same_heads || !groups && !shape.has_past)
        && (is_half || !groups);
    // A mask of truth values becomes one of numbers.
    let converts = shape.mask == Some(DataType::Bool);
    let mask =
        Piece::exact("mask as numbers", if converts { product(&[shape.mask_elements, element_bytes])? } else { 0 });
    if efficient {
        let present = shape.has_past && !shape.has_present;
        let expanded = product(&[shape.batch, shape.n_heads, shape.total_keys, shape.head, element_bytes])?;
        let sums = product(&[shape.batch, shape.queries, shape.n_heads, shape.value_head, 4])?;
        let tail = [
            Piece::exact("present keys", transposed(present, per_key(shape.total_keys, shape.head)?)),
            Piece::exact("present values", transposed(present, per_key(shape.total_keys, shape.value_head)?)),
            Piece::exact("expanded keys", transposed(groups, expanded)),
            Piece::exact("expanded values", transposed(groups, expanded)),
            mask,
            Piece::exact("output accumulator", transposed(shape.value_head > 128 && is_half, sums)),
        ];
        return Some(queries_and_output.into_iter().chain(tail).collect());
    }
    let sequence_first = !shape.heads_first;
    let scores = aligned(product(&[shape.batch, shape.n_heads, shape.queries, shape.total_keys, 4])?)?;
    Some(vec![
        Piece::exact("transposed queries", transposed(sequence_first, query_bytes)),
        Piece::exact("transposed keys", transposed(sequence_first, per_key(shape.total_keys, shape.head)?)),
        Piece::exact("transposed values", transposed(sequence_first, per_key(shape.total_keys, shape.value_head)?)),
        Piece::exact("sequence lengths", shape.batch.checked_mul(4)?),
        Piece::exact("transposed output", transposed(sequence_first, output_bytes)),
        mask,
        Piece::exact("scores and probabilities", scores.checked_mul(2)?),
    ])
}
