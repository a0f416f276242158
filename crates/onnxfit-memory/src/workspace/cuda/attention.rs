//! Fused attention: which kernel computes it, and the workspace of that kernel.
//!
//! `contrib_ops/cuda/bert/{multihead_attention,attention}.cc`, `attention_impl.cu`,
//! `attention_prepare_qkv.cu`, `flash_attention/flash_api.cc` (ORT 1.30-dev), with the kernels that are on
//! by default. Unknown compute capability: the least and the most of all choices.

use onnxfit_onnx::DataType;

use super::flash::flash_buffers;
use super::gpu::{EXPECTED_CAPABILITY, capabilities};
use super::{Call, Piece, after_outputs, aligned, product, sum};
use crate::program::Node;

/// Who computes the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Flash,
    CudnnSdpa,
    FusedCross,
    FusedSelf,
    MemoryEfficient,
    Unfused,
}

/// How queries, keys and values come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Three tensors `[batch, sequence, hidden]`.
    Separate,
    /// Keys and values as `[batch, heads, sequence, head]`.
    Cross,
    /// Keys and values in one tensor.
    PackedKeyValue,
    /// All in one tensor.
    Packed,
    /// Not yet projected: the contributed `Attention`.
    Projected,
}

/// What a padding mask looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    None,
    /// One length a sequence.
    Lengths,
    /// `[3 * batch + 2]`: lengths and starts.
    LengthsAndStarts,
    Other,
}

/// Everything that choice and size depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) element: DataType,
    pub(super) batch: u64,
    pub(super) n_heads: u64,
    pub(super) queries: u64,
    /// Keys that this call adds.
    pub(super) keys: u64,
    /// Keys in all.
    pub(super) total_keys: u64,
    pub(super) head: u64,
    pub(super) value_head: u64,
    pub(super) layout: Layout,
    pub(super) mask: Mask,
    pub(super) has_bias: bool,
    pub(super) has_attention_bias: bool,
    pub(super) has_past: bool,
    pub(super) has_present: bool,
    pub(super) has_score_output: bool,
    pub(super) has_past_length: bool,
    pub(super) unidirectional: bool,
}

/// `ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32`.
const EFFICIENT_FLOAT_SEQUENCE_MIN: u64 = 256;
/// `ORT_MIN_SEQ_LEN_FLASH_ATTENTION_PACKED_QKV`.
const FLASH_PACKED_SEQUENCE_MIN: u64 = 513;

impl Shape {
    pub(super) fn element_bytes(&self) -> u64 {
        if self.element == DataType::Float { 4 } else { 2 }
    }

    /// The order of preference of both operators.
    pub(super) fn kernel(&self, capability: (u32, u32)) -> Kernel {
        let (major, minor) = capability;
        let sm = major * 10 + minor;
        let is_float16 = self.element == DataType::Float16;
        let is_projected = self.layout == Layout::Projected;
        let mask_is_simple = matches!(self.mask, Mask::None | Mask::Lengths);
        let keeps_state = self.has_past || self.has_present;
        let same_heads = self.head == self.value_head;
        if sm >= 90 && self.suits_cudnn(mask_is_simple) && !(is_projected && keeps_state) {
            return Kernel::CudnnSdpa;
        }
        let plain = !self.has_attention_bias && !self.has_score_output && !self.has_past_length;
        let flash = is_float16
            && major >= 8
            && plain
            && self.mask == Mask::None
            && same_heads
            && self.head.is_multiple_of(8)
            && self.head <= 256
            && !(is_projected && (keeps_state || self.queries < FLASH_PACKED_SEQUENCE_MIN));
        if flash {
            return Kernel::Flash;
        }
        let fused = is_float16 && plain && !keeps_state && !self.unidirectional && same_heads;
        let crosses =
            matches!(self.layout, Layout::Separate) || self.layout == Layout::PackedKeyValue && !self.has_bias;
        if fused && crosses && self.mask == Mask::None && has_fused_cross(sm, self.head, self.keys) {
            return Kernel::FusedCross;
        }
        let is_self =
            matches!(self.layout, Layout::Separate | Layout::Packed | Layout::Projected) && self.queries == self.keys;
        if fused && is_self && mask_is_simple && has_fused_self(sm, self.head, self.queries) {
            return Kernel::FusedSelf;
        }
        if self.suits_memory_efficient(sm, is_projected, keeps_state) {
            return Kernel::MemoryEfficient;
        }
        Kernel::Unfused
    }

    fn suits_cudnn(&self, mask_is_simple: bool) -> bool {
        let heads_fit = [self.head, self.value_head].iter().all(|head| head % 8 == 0 && *head <= 256);
        let bias_fits = !self.has_attention_bias || !self.unidirectional || self.queries == self.total_keys;
        let causal_fits = !self.unidirectional || self.queries <= 1 || self.queries <= self.total_keys;
        self.element != DataType::Float
            && mask_is_simple
            && heads_fit
            && bias_fits
            && causal_fits
            && !self.has_score_output
            && !self.has_past_length
    }

    fn suits_memory_efficient(&self, sm: u32, is_projected: bool, keeps_state: bool) -> bool {
        let is_long = match self.element {
            DataType::Float16 => true,
            DataType::Bfloat16 if is_projected => true,
            _ => self.queries.max(self.keys) >= EFFICIENT_FLOAT_SEQUENCE_MIN,
        };
        let bias_fits = !self.has_attention_bias || self.queries.is_multiple_of(4 * self.element_bytes());
        is_long
            && bias_fits
            && matches!(self.mask, Mask::None | Mask::LengthsAndStarts)
            && !(is_projected && keeps_state)
            && !self.has_score_output
            && !self.has_past_length
            && has_memory_efficient(sm, self.element, self.head, self.value_head)
    }

    /// Whether queries, keys and values are read where they lie (`NoQkvWorkspace`).
    fn reads_in_place(&self, kernel: Kernel) -> bool {
        let reads = matches!(kernel, Kernel::Flash | Kernel::MemoryEfficient | Kernel::CudnnSdpa);
        match self.layout {
            Layout::Separate if self.has_past || self.has_present => {
                !self.has_bias && reads && !self.has_past && self.has_present
            }
            Layout::Separate | Layout::Cross => reads && !self.has_bias,
            Layout::PackedKeyValue => kernel == Kernel::FusedCross,
            Layout::Packed => kernel == Kernel::FusedSelf && !self.has_bias,
            Layout::Projected => false,
        }
    }

    /// `GetAttentionWorkspaceSize`.
    fn workspace_bytes(&self, kernel: Kernel) -> Option<u64> {
        let heads = product(&[self.batch, self.n_heads, self.element_bytes()])?;
        let per_head = sum(&[
            product(&[self.queries.checked_add(self.keys)?, self.head])?,
            product(&[self.keys, self.value_head])?,
        ])?;
        let transformed = if self.reads_in_place(kernel) { 0 } else { product(&[heads, per_head])? };
        // Offsets with padding: two a sequence and the end.
        let offsets = aligned(4 * (2 * self.batch + 1))?;
        let extra = match kernel {
            Kernel::Flash | Kernel::CudnnSdpa => 0,
            Kernel::MemoryEfficient if self.value_head > 128 && self.element != DataType::Float => {
                product(&[self.batch, self.queries, self.n_heads, self.value_head, 4])?
            }
            Kernel::MemoryEfficient => 0,
            Kernel::FusedSelf => offsets,
            Kernel::FusedCross => 2 * offsets,
            Kernel::Unfused => 2 * aligned(product(&[heads, self.queries, self.total_keys])?)?,
        };
        transformed.checked_add(extra)
    }

    fn scratch(&self, capability: (u32, u32)) -> Option<Vec<Piece>> {
        let kernel = self.kernel(capability);
        let mut pieces = Vec::new();
        if kernel == Kernel::Flash {
            pieces = flash_buffers(capability, self.batch, self.n_heads, self.queries, self.total_keys, self.head)?;
        }
        if self.layout == Layout::Projected {
            let hidden = product(&[self.n_heads, sum(&[2 * self.head, self.value_head])?])?;
            let bytes = product(&[self.batch, self.queries, hidden, self.element_bytes()])?;
            pieces.push(Piece::exact("projected queries, keys and values", bytes));
        }
        pieces.push(Piece::exact(kernel.what(), self.workspace_bytes(kernel)?));
        if kernel == Kernel::CudnnSdpa {
            pieces.push(cudnn_plan(self.batch, self.n_heads, self.queries)?);
        }
        if self.has_past_length {
            pieces.push(Piece::exact("key lengths", self.batch.checked_mul(4)?));
        }
        Some(pieces)
    }
}

impl Kernel {
    const fn what(self) -> &'static str {
        match self {
            Self::Flash => "flash attention",
            Self::CudnnSdpa => "cuDNN attention",
            Self::FusedCross => "fused cross attention",
            Self::FusedSelf => "fused self attention",
            Self::MemoryEfficient => "memory-efficient attention",
            Self::Unfused => "unfused attention",
        }
    }
}

/// The plan of cuDNN's attention: usually nothing, at most the statistics of every row.
pub(super) fn cudnn_plan(batch: u64, n_heads: u64, queries: u64) -> Option<Piece> {
    Some(Piece::between("cuDNN plan", 0, 0, product(&[batch, n_heads, queries, 4])?))
}

fn has_fused_cross(sm: u32, head: u64, keys: u64) -> bool {
    let head_max = if sm == 75 { 64 } else { 256 };
    matches!(sm, 75 | 80 | 86 | 89) && head > 0 && head <= head_max && keys <= 128
}

fn has_fused_self(sm: u32, head: u64, queries: u64) -> bool {
    let long = match sm {
        70 => head == 64,
        75 | 80 | 86 | 89 => matches!(head, 16 | 32 | 40 | 64 | 80 | 128 | 160 | 256),
        _ => false,
    };
    if long && queries >= 385 {
        return true;
    }
    let heads_fit = if sm == 70 { head == 64 } else { matches!(head, 32 | 64) };
    matches!(sm, 70 | 75 | 80 | 86 | 89) && heads_fit && queries <= 384
}

pub(super) fn has_memory_efficient(sm: u32, element: DataType, head: u64, value_head: u64) -> bool {
    let sm_min = match element {
        DataType::Bfloat16 => 80,
        DataType::Float16 => 53,
        _ => 50,
    };
    sm >= sm_min && [head, value_head].iter().all(|head| head % 8 == 0 && *head <= 1024)
}

/// The scratch on the card, or on all cards that it may be.
pub(super) fn on_every_card(call: &Call<'_>, scratch: impl Fn((u32, u32)) -> Option<Vec<Piece>>) -> Option<Vec<Piece>> {
    let possible = capabilities(call.compute_capability);
    if let [known] = possible[..] {
        return Some(after_outputs(call.node, scratch(known)?));
    }
    let (mut low, mut expected, mut high) = (u64::MAX, 0, 0);
    for capability in possible {
        let (mut least, mut likely, mut most) = (0_u64, 0_u64, 0_u64);
        for piece in scratch(capability)? {
            if let Piece::Scratch { band, .. } = piece {
                least = least.checked_add(aligned(band.low.0)?)?;
                likely = likely.checked_add(aligned(band.expected.0)?)?;
                most = most.checked_add(aligned(band.high.0)?)?;
            }
        }
        low = low.min(least);
        high = high.max(most);
        if capability == EXPECTED_CAPABILITY {
            expected = likely;
        }
    }
    Some(after_outputs(call.node, [Piece::between("attention on an unknown card", low, expected, high)]))
}

/// `com.microsoft.MultiHeadAttention`.
pub(super) fn multi_head(call: &Call<'_>) -> Option<Vec<Piece>> {
    let shape = multi_head_shape(call)?;
    on_every_card(call, |capability| shape.scratch(capability))
}

fn multi_head_shape(call: &Call<'_>) -> Option<Shape> {
    let node = call.node;
    let query = call.input(0)?;
    let n_heads = u64::try_from(node.int("num_heads", 0)).ok().filter(|n| *n > 0)?;
    let &[batch, queries, ..] = query.dims.as_slice() else { return None };
    let output_hidden = *call.output(0)?.dims.get(2)?;
    let (layout, keys, head) = match (query.dims.len(), call.input(1).map(|key| key.dims.as_slice())) {
        (5, _) => (Layout::Packed, queries, query.dims[4]),
        (3, Some(&[_, keys, _, _, _])) => (Layout::PackedKeyValue, keys, query.dims[2] / n_heads),
        (3, Some(&[_, _, keys, _])) => (Layout::Cross, keys, query.dims[2] / n_heads),
        (3, Some(&[_, keys, _])) => (Layout::Separate, keys, query.dims[2] / n_heads),
        _ => return None,
    };
    let past = call.input(6).and_then(|past| past.dims.get(2).copied()).unwrap_or(0);
    let has_past_length = node.input(8).is_some() || node.input(9).is_some();
    // With a shared buffer the keys so far are known at run time only: as many as it holds.
    let total_keys = if has_past_length { past.max(keys) } else { past.checked_add(keys)? };
    Some(Shape {
        element: query.element,
        batch,
        n_heads,
        queries,
        keys,
        total_keys,
        head,
        value_head: output_hidden / n_heads,
        layout,
        mask: mask_of(call, 4, batch),
        has_bias: node.input(3).is_some(),
        has_attention_bias: node.input(5).is_some(),
        has_past: node.input(6).is_some(),
        has_present: node.output(1).is_some(),
        has_score_output: node.output(3).is_some(),
        has_past_length,
        unidirectional: node.int("unidirectional", 0) != 0,
    })
}

/// `com.microsoft.Attention`, which projects first.
pub(super) fn projected(call: &Call<'_>) -> Option<Vec<Piece>> {
    let shape = projected_shape(call)?;
    on_every_card(call, |capability| shape.scratch(capability))
}

fn projected_shape(call: &Call<'_>) -> Option<Shape> {
    let node = call.node;
    let input = call.input(0)?;
    let &[batch, queries, _] = input.dims.as_slice() else { return None };
    let n_heads = u64::try_from(node.int("num_heads", 0)).ok().filter(|n| *n > 0)?;
    let hidden = match node.ints("qkv_hidden_sizes") {
        [query, ..] => u64::try_from(*query).ok()?,
        [] => call.input(1)?.dims.get(1)? / 3,
    };
    let past = call.input(4).and_then(|past| past.dims.get(3).copied()).unwrap_or(0);
    Some(Shape {
        element: input.element,
        batch,
        n_heads,
        queries,
        keys: queries,
        total_keys: past.checked_add(queries)?,
        head: hidden / n_heads,
        value_head: call.output(0)?.dims.get(2)? / n_heads,
        layout: Layout::Projected,
        mask: mask_of(call, 3, batch),
        has_bias: node.input(2).is_some(),
        has_attention_bias: node.input(5).is_some(),
        has_past: node.input(4).is_some(),
        has_present: node.output(1).is_some(),
        has_score_output: false,
        has_past_length: false,
        unidirectional: is_unidirectional(node),
    })
}

fn is_unidirectional(node: &Node) -> bool {
    node.int("unidirectional", 0) != 0
}

fn mask_of(call: &Call<'_>, position: usize, batch: u64) -> Mask {
    match (call.node.input(position).is_some(), call.input(position).map(|mask| mask.dims.as_slice())) {
        (false, _) => Mask::None,
        (true, Some(&[n])) if n == batch => Mask::Lengths,
        (true, Some(&[n])) if n == 3 * batch + 2 => Mask::LengthsAndStarts,
        _ => Mask::Other,
    }
}
