//! Attention on the CPU: products, scores, masks and tiles.
//!
//! `contrib_ops/cpu/bert/{attention,multihead_attention,group_query_attention}.cc`, their bases, and
//! `core/providers/cpu/llm/attention.cc` (ORT 1.31).

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

use super::{Call, Step};
use crate::program::Attribute;

/// The second-level cache that tiles are cut for (`Env::GetL2CacheSize`). It is the machine's; tiles
/// depend on it only where rows are longer than this allows, some 500 for heads of 64.
const L2_CACHE_BYTES: u64 = 1 << 20;
/// One `MLAS_SGEMM_DATA_PARAMS`.
const PRODUCT_PARAMETERS_BYTES: u64 = 64;

/// Steps so far, and how much scratch was taken.
#[derive(Default)]
struct Script {
    steps: Vec<Step>,
    n_scratch: usize,
}

impl Script {
    fn output(&mut self, call: &Call<'_>, position: usize) {
        if call.node.output(position).is_some() {
            self.steps.push(Step::Output(position));
        }
    }

    /// Takes scratch of so many elements; nothing is taken for none. Its number, to give it back.
    fn take(&mut self, what: &'static str, factors: &[u64]) -> Option<usize> {
        let bytes = factors.iter().try_fold(1_u64, |product, &factor| product.checked_mul(factor))?;
        if bytes > 0 {
            self.steps.push(Step::Scratch { what, bytes: Bytes(bytes) });
            self.n_scratch += 1;
        }
        Some(self.n_scratch.saturating_sub(1))
    }
}

/// Sizes that every kind has.
#[derive(Clone, Copy)]
struct Shape {
    element: u64,
    batch: u64,
    heads: u64,
    queries: u64,

    total: u64,
    width: u64,
    value_width: u64,
}

fn count(call: &Call<'_>, name: &str) -> Option<u64> {
    u64::try_from(call.node.int(name, 0)).ok().filter(|&number| number > 0)
}

/// `AttentionCPUBase::ApplyAttention`: the mask as numbers, scores, parameters, weighted values.
fn apply(call: &Call<'_>, script: &mut Script, shape: Shape, mask: Option<usize>) -> Option<()> {
    let causal = call.node.int("unidirectional", 0) != 0 && shape.queries > 1;
    let mask_rank = mask.and_then(|position| call.input(position)).map(|mask| mask.dims.len());
    if mask_rank.is_some() || causal {
        // A mask of keys alone is not repeated for every query.
        let rows = if !causal && matches!(mask_rank, Some(1 | 2)) { 1 } else { shape.queries };
        script.take("mask", &[shape.batch, rows, shape.total, shape.element])?;
    }
    script.take("scores", &[shape.batch, shape.heads, shape.queries, shape.total, shape.element])?;
    script.take("parameters of products", &[shape.batch, shape.heads, PRODUCT_PARAMETERS_BYTES])?;
    script.take("weighted values", &[shape.batch, shape.heads, shape.queries, shape.value_width, shape.element])?;
    Some(())
}

/// `com.microsoft.Attention`: one product makes queries, keys and values.
pub(super) fn joined(call: &Call<'_>) -> Option<Vec<Step>> {
    let input = call.input(0)?;
    let &[batch, queries, _] = input.dims.as_slice() else { return None };
    let heads = count(call, "num_heads")?;
    let all = *call.input(2)?.dims.first()?;
    let (hidden, value_hidden) = match call.node.ints("qkv_hidden_sizes") {
        &[query, _, value] => (u64::try_from(query).ok()?, u64::try_from(value).ok()?),
        _ => (all / 3, all / 3),
    };
    let past = match call.input(4) {
        Some(past) => *past.dims.get(3)?,
        None => 0,
    };
    let shape = Shape {
        element: input.element_bytes(),
        batch,
        heads,
        queries,

        total: past + queries,
        width: hidden / heads,
        value_width: value_hidden / heads,
    };
    let mut script = Script::default();
    script.output(call, 0);
    script.take("queries, keys and values", &[batch, queries, all, shape.element])?;
    script.output(call, 1);
    let mask = call.node.input(3).map(|_| 3);
    apply(call, &mut script, shape, mask)?;
    Some(script.steps)
}

/// `MultiHeadAttention`: heads are brought forward one by one; without masks and caches it tiles.
pub(super) fn multi_head(call: &Call<'_>) -> Option<Vec<Step>> {
    let input = call.input(0)?;
    let &[batch, queries, hidden] = input.dims.as_slice() else { return None };
    let heads = count(call, "num_heads")?;
    let (key, value) = (call.input(1)?, call.input(2)?);
    let apart = key.dims.len() == 4;
    let (keys, value_hidden) =
        if apart { (key.dims[2], value.dims.get(3)? * heads) } else { (*key.dims.get(1)?, *value.dims.get(2)?) };
    let past = match call.input(6) {
        Some(past) => *past.dims.get(2)?,
        None => 0,
    };
    let shape = Shape {
        element: input.element_bytes(),
        batch,
        heads,
        queries,

        total: past + keys,
        width: hidden / heads,
        value_width: value_hidden / heads,
    };
    let mut script = Script::default();
    for position in 0..4 {
        script.output(call, position);
    }
    bring_forward(call, &mut script, shape, "queries", queries, shape.width)?;
    let mask = call.node.input(4).map(|_| 4);
    if apart {
        apply(call, &mut script, shape, mask)?;
        return Some(script.steps);
    }
    bring_forward(call, &mut script, shape, "keys", keys, shape.width)?;
    bring_forward(call, &mut script, shape, "values", keys, shape.value_width)?;
    let plain = (4..10).all(|position| call.node.input(position).is_none())
        && (1..4).all(|position| call.node.output(position).is_none())
        && call.node.int("unidirectional", 0) == 0;
    if plain && input.element == DataType::Float && batch > 0 && queries > 0 && shape.total > 0 {
        let (rows, columns) = tile(shape.width + shape.value_width);
        let (rows, columns) = (rows.min(queries), columns.min(keys));
        tiles(call, &mut script, rows, columns, shape.value_width)?;
    } else {
        apply(call, &mut script, shape, mask)?;
    }
    Some(script.steps)
}

/// `MaybeTransposeToBNSHAndAddBias`.
fn bring_forward(
    call: &Call<'_>,
    script: &mut Script,
    shape: Shape,
    what: &'static str,
    rows: u64,
    width: u64,
) -> Option<()> {
    script.take(what, &[shape.batch, shape.heads, rows, width, shape.element])?;
    if call.node.input(3).is_some() && shape.batch > 0 && rows > 0 {
        let mut taken = Vec::new();
        if rows > 1 {
            taken.push(script.take("sum with bias", &[shape.batch, rows, shape.heads, width, shape.element])?);
        }
        taken.push(script.take("bias", &[shape.heads, width, shape.element])?);
        script.steps.extend(taken.into_iter().rev().map(Step::Give));
    }
    Some(())
}

/// Rows and columns of a tile for queries and keys whose widths sum to this.
fn tile(widths: u64) -> (u64, u64) {
    let columns = (L2_CACHE_BYTES / (16 * widths.max(1))).max(1);
    (columns.min(widths), columns)
}

/// Each thread's tile: two statistics and an accumulator a row, and the scores.
fn tiles(call: &Call<'_>, script: &mut Script, rows: u64, columns: u64, width: u64) -> Option<()> {
    let a_row = columns.checked_add(width)?.checked_add(2)?;
    script.take("tiles", &[rows, a_row, 4, call.n_threads.max(1)])?;
    Some(())
}

/// `GroupQueryAttention` with a cache of plain elements.
pub(super) fn group_query(call: &Call<'_>) -> Option<Vec<Step>> {
    let query = call.input(0)?;
    let &[batch, queries, hidden] = query.dims.as_slice() else { return None };
    let (heads, key_heads) = (count(call, "num_heads")?, count(call, "kv_num_heads")?);
    let element = query.element_bytes();
    let packed = call.node.input(1).is_none();
    let all_heads = heads + 2 * key_heads;
    let width = hidden / if packed { all_heads } else { heads };
    let keys = if packed { queries } else { *call.input(1)?.dims.get(1)? };
    let cache = *call.output(1)?.dims.get(2)?;
    let total = call.integers(6).and_then(|total| u64::try_from(*total.first()?).ok()).unwrap_or(cache);
    let mut script = Script::default();
    for position in 0..4 {
        script.output(call, position);
    }
    let mut take =
        |what: &'static str, n_heads: u64, rows: u64| script.take(what, &[batch, n_heads, rows, width, element]);
    let rotary = call.node.int("do_rotary", 0) != 0;
    if packed {
        take("queries, keys and values", all_heads, queries)?;
        if rotary {
            take("turned queries, keys and values", all_heads, queries)?;
        }
    } else {
        take("queries", heads, queries)?;
        take("keys", key_heads, keys)?;
        take("values", key_heads, keys)?;
        if rotary {
            take("turned queries", heads, queries)?;
            take("turned keys", key_heads, keys)?;
        }
    }
    let flash = query.element == DataType::Float
        && total > 1
        && !matches!(call.node.attributes.get("softcap"), Some(Attribute::Float(cap)) if *cap != 0.0)
        && call.node.int("smooth_softmax", 0) == 0
        && call.node.input(11).is_none()
        && call.node.output(3).is_none();
    if !flash {
        script.take("scores", &[batch, heads, queries, cache, 4])?;
        return Some(script.steps);
    }
    let (rows, columns) = tile(2 * width);
    let (rows, columns) = (rows.min(queries), columns.min(total));
    let n_threads = call.n_threads.max(1);
    if queries > 1 {
        tiles(call, &mut script, rows, columns, width)?;
        return Some(script.steps);
    }
    let pieces = total.div_ceil(columns);
    let (a_thread, partial) = if batch * heads < n_threads && pieces > 1 {
        (columns, batch.checked_mul(heads)?.checked_mul(pieces)?.checked_mul(2 + width)?)
    } else {
        (total + width, 0)
    };
    script.take("rows of scores", &[a_thread.checked_mul(n_threads)?.checked_add(partial)?, 4])?;
    Some(script.steps)
}

/// `Attention` of the standard: scores, and the mask where it must be changed first.
pub(super) fn standard(call: &Call<'_>) -> Option<Vec<Step>> {
    let (query, key) = (call.input(0)?, call.input(1)?);
    let element = query.element_bytes();
    let (batch, heads, queries, keys) = match (query.dims.as_slice(), key.dims.as_slice()) {
        (&[batch, heads, queries, _], &[_, _, keys, _]) => (batch, heads, queries, keys),
        (&[batch, queries, _], &[_, keys, _]) => (batch, count(call, "q_num_heads")?, queries, keys),
        _ => return None,
    };
    let past = match call.input(4) {
        Some(past) => *past.dims.get(2)?,
        None => 0,
    };
    let total = past + keys;
    let mut script = Script::default();
    for position in 0..3 {
        script.output(call, position);
    }
    // Asked for by its mode alone: absent, it is no output of the node.
    script.output(call, 3);
    script.take("scores", &[batch, heads, queries, total, element])?;
    let causal = call.node.int("is_causal", 0) != 0 && !(queries == 1 && past > 0) && call.node.input(6).is_none();
    match call.input(3) {
        None if causal => {
            script.take("causal mask", &[queries, total, element])?;
        }
        Some(mask) if causal || mask.element == DataType::Bool => {
            script.take("mask", &[mask.n_elements()?, element])?;
        }
        _ => {}
    }
    Some(script.steps)
}
