//! Convolutions: the workspace of the plan that cuDNN chooses, which only cuDNN knows.
//!
//! `nn/conv.cc` takes `cudnn_fe_graph->get_workspace_size()` (cuDNN 9). The band:
//!
//! * low is 0: implicit-GEMM kernels that read NCHW directly, and depthwise kernels, need nothing.
//! * Tensor-core kernels compute in NHWC. With half-precision elements from compute capability 7.0
//!   on, and with fp32 as TF32 from 8.0 on (`use_tf32` is on by default), a plan for NCHW tensors
//!   copies x, w and y into that layout: `round(x) + round(w) + round(y)` is expected.
//! * fp32 without TF32 (7.x) is expected to take the precomputed implicit GEMM: one 4-byte offset
//!   for every element of the patch and every output pixel of a row of tiles, at most 1 MiB.
//! * high: for kernels of 3 x 3 with unit steps the unfused Winograd transform F(4x4, 3x3) holds 36
//!   numbers for every 16 of x and y and for every 9 of w; for others the layout copies, in fp32
//!   where the accumulator is.

use super::{Call, Piece, after_outputs, aligned, product, sum};

/// Bytes that a search for an algorithm may use, and so its result (`AlgoSearchWorkspaceSize`).
const SEARCHED_BYTES_MAX: u64 = 32 << 20;
/// What the offsets of a precomputed implicit GEMM are expected to take at most.
const OFFSETS_BYTES_MAX: u64 = 1 << 20;

/// Tensors in the model's own layout.
pub(super) fn nchw(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (expected, high) = plan_bytes(call)?;
    Some(after_outputs(call.node, [Piece::between("cuDNN plan", 0, expected, high)]))
}

/// Tensors that already have the layout of tensor-core kernels.
pub(super) fn nhwc(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (_, high) = plan_bytes(call)?;
    Some(after_outputs(call.node, [Piece::between("cuDNN plan", 0, 0, high)]))
}

/// `fused_conv.cc` still measures algorithms, within 32 MiB.
pub(super) fn searched(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (expected, high) = plan_bytes(call)?;
    let band = Piece::between("cuDNN algorithm", 0, expected.min(SEARCHED_BYTES_MAX), high.min(SEARCHED_BYTES_MAX));
    Some(after_outputs(call.node, [band]))
}

fn plan_bytes(call: &Call<'_>) -> Option<(u64, u64)> {
    let (input, filters, output) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let [x, w, y] = [input, filters, output].map(|tensor| aligned(tensor.bytes()?.0));
    let (x, w, y) = (x?, w?, y?);
    let copies = sum(&[x, w, y])?;
    let kernel = filters.dims.get(2..)?;
    let n_groups = u64::try_from(call.node.int("group", 1)).ok()?;
    let is_half = input.element_bytes() == 2;
    let is_depthwise = n_groups > 1 && filters.dims.get(1) == Some(&1);
    let uses_tensor_cores = match call.compute_capability {
        Some((major, _)) => major >= 8 || (major == 7 && is_half),
        None => true,
    };
    let unit_steps = ["strides", "dilations"].iter().all(|name| call.node.ints(name).iter().all(|&step| step == 1));
    let expected = if is_depthwise {
        0
    } else if uses_tensor_cores && input.element_bytes() <= 4 {
        copies
    } else if unit_steps && product(kernel)? == 1 {
        0
    } else {
        product(&[product(filters.dims.get(1..)?)?, 128, 4])?.min(OFFSETS_BYTES_MAX)
    };
    let high = if kernel == [3, 3] && unit_steps && !is_depthwise {
        // 36 / 16 of x and y, 36 / 9 of w.
        sum(&[x / 4 * 9, y / 4 * 9, w.checked_mul(4)?])?
    } else {
        copies.checked_mul(if is_half { 2 } else { 1 })?
    };
    Some((expected, high.max(copies)))
}
