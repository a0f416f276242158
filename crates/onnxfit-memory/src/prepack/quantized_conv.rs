//! The filters of a quantized convolution, in the layout that its kernel picks.
//!
//! `quantization/qlinearconv.cc:PrePack`, `mlas/lib/convsym.cpp` (ORT 1.31, x64 with AVX-512).
//! Zero points are taken to be what the layout asks for: signed filters are symmetric.

use onnxfit_onnx::DataType;

use super::integer::packed_bytes;
use super::{Asked, Buffer};
use crate::sizes::TensorSize;

/// Where the indirect kernel for symmetric filters starts, and its channel steps.
const SYMMETRIC_CHANNELS_MIN: u64 = 16;
const SYMMETRIC_CHANNELS_STEP: u64 = 4;
/// Channels of the depthwise kernel.
const DEPTHWISE_STEP: u64 = 16;

/// The layout of constant filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantizedFilters {
    /// For the kernel that multiplies through pointers.
    Symmetric,
    /// For the general matrix product.
    Packed,
    /// Channels last, nothing else.
    Reordered,
}

impl QuantizedFilters {
    /// The layout for filters of this type and shape.
    pub(crate) fn of(signed_input: bool, filters: &TensorSize, n_groups: u64) -> Self {
        let (outputs, inputs) = channels(filters, n_groups);
        let depthwise = inputs == 1 && outputs == 1;
        if filters.element == DataType::Int8 && !signed_input {
            let fits = if n_groups > 1 {
                depthwise && n_groups.is_multiple_of(DEPTHWISE_STEP)
            } else {
                outputs >= SYMMETRIC_CHANNELS_MIN
                    && outputs % SYMMETRIC_CHANNELS_STEP == 0
                    && inputs % SYMMETRIC_CHANNELS_STEP == 0
            };
            if fits {
                return Self::Symmetric;
            }
        }
        if depthwise { Self::Reordered } else { Self::Packed }
    }
}

/// Output and input channels of one group.
fn channels(filters: &TensorSize, n_groups: u64) -> (u64, u64) {
    let dim = |position: usize| filters.dims.get(position).copied().unwrap_or(0);
    (dim(0) / n_groups.max(1), dim(1))
}

/// `QLinearConv`: the filters are its fourth input.
pub(super) fn filters(asked: &Asked<'_>) -> Vec<Buffer> {
    let size = asked.size;
    let n_groups = u64::try_from(asked.node.int("group", 1)).unwrap_or(1).max(1);
    let is_byte = matches!(size.element, DataType::Int8 | DataType::Uint8);
    if asked.position != 3 || !is_byte || size.dims.len() <= 2 || !size.dims[0].is_multiple_of(n_groups) {
        return Vec::new();
    }
    buffers(asked, n_groups).unwrap_or_default()
}

fn buffers(asked: &Asked<'_>, n_groups: u64) -> Option<Vec<Buffer>> {
    let size = asked.size;
    let (outputs, inputs) = channels(size, n_groups);
    let kernel = size.dims[2..].iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim))?;
    let patch = inputs.checked_mul(kernel)?;
    let signed_input = asked.constant(2).is_some_and(|zero| zero.element == DataType::Int8);
    Some(match QuantizedFilters::of(signed_input, size, n_groups) {
        QuantizedFilters::Symmetric if n_groups > 1 => vec![Buffer::taken(n_groups.checked_mul(kernel)?)],
        QuantizedFilters::Symmetric => {
            let padded = outputs.checked_next_multiple_of(SYMMETRIC_CHANNELS_MIN)?;
            vec![Buffer::taken(padded.checked_mul(patch)?)]
        }
        QuantizedFilters::Packed => vec![
            Buffer::reserved(packed_bytes(patch, outputs)?.checked_mul(n_groups)?),
            Buffer::temporary(outputs.checked_mul(patch)?),
        ],
        QuantizedFilters::Reordered => vec![Buffer::reserved(outputs.checked_mul(n_groups)?.checked_mul(patch)?)],
    })
}
