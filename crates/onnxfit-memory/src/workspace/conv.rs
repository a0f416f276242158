//! Convolution on the CPU: the buffer of unrolled patches.
//!
//! `mlas/lib/convolve.cpp:MlasConvPrepare` (ORT 1.31) for one, two or three spatial dimensions.

use super::{Call, Step, outputs_then};
use crate::program::Node;
use crate::releases::{FormerRule, holds};

/// 16 384 floats a thread (`MLAS_CONV_WORKING_BUFFER_SIZE_PER_THREAD`).
const THREAD_BUFFER_BYTES: u64 = 16_384 * 4;
/// Multiplications that are worth a thread (`MLAS_SGEMM_THREAD_COMPLEXITY`).
const WORK_PER_THREAD: f64 = 65_536.0;
/// `MLAS_MAXIMUM_THREAD_COUNT`.
const THREADS_MAX: u64 = 16;

/// fp32 NCHW convolution; other element types take other kernels.
pub(super) fn cpu(call: &Call<'_>) -> Option<Vec<Step>> {
    let bytes = patch_buffer_bytes(call)?;
    Some(outputs_then(call.node, "unrolled patches", bytes))
}

fn patch_buffer_bytes(call: &Call<'_>) -> Option<u64> {
    let (input, filters, output) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let n_spatial = input.dims.len().checked_sub(2)?;
    if filters.dims.len() != input.dims.len() || output.dims.len() != input.dims.len() {
        return None;
    }
    let n_groups = call.node.int("group", 1).max(1) as u64;
    let channels = filters.dims[1];
    let n_filters = filters.dims[0] / n_groups;
    let patch = product(&filters.dims[1..])?;
    let pixels = product(&output.dims[2..])?;
    let (kernel, image) = (&filters.dims[2..], &input.dims[2..]);
    let unit_steps = is_plain(call.node, kernel);
    if unit_steps && patch == channels {
        return Some(0);
    }
    // One-dimensional convolutions are promoted to a single row.
    let (kernel, image) = match n_spatial {
        1 => ([1, kernel[0]], [1, image[0]]),
        2 => ([kernel[0], kernel[1]], [image[0], image[1]]),
        _ => ([0, 0], [1, 1]),
    };
    let whole_rows = kernel[1] == image[1] || (kernel[0] == image[0] && kernel[1] == 1);
    if unit_steps && channels == 1 && all_are(call.node.ints("dilations"), 1) && whole_rows {
        return Some(0);
    }
    if n_filters > pixels {
        return pixels.checked_mul(patch)?.checked_mul(4);
    }
    let n_images = input.dims[0];
    let threads = if n_images > 1 || n_groups > 1 {
        call.n_threads.min(n_images.checked_mul(n_groups)?)
    } else {
        threads_worth(n_filters as f64 * pixels as f64 * patch as f64, pixels, call.n_threads)
    };
    let mut thread_buffer_bytes = THREAD_BUFFER_BYTES;
    if (n_images > 1 || n_groups > 1) && holds(FormerRule::WholeImageAThread, call.release) {
        let whole = pixels.checked_mul(patch.max(n_filters))?.checked_mul(4)?;
        thread_buffer_bytes = thread_buffer_bytes.max(whole);
    }
    threads.checked_mul(thread_buffer_bytes)
}

/// Threads that the work is worth, given that each takes a multiple of 16 pixels.
fn threads_worth(work: f64, pixels: u64, n_threads: u64) -> u64 {
    let wanted =
        if work < WORK_PER_THREAD * THREADS_MAX as f64 { (work / WORK_PER_THREAD) as u64 + 1 } else { THREADS_MAX };
    let threads = wanted.min(n_threads).max(1);
    if threads == 1 {
        return 1;
    }
    let stride = pixels.div_ceil(threads).next_multiple_of(16);
    if stride >= pixels {
        1
    } else if stride * (threads - 1) >= pixels {
        threads - 1
    } else {
        threads
    }
}

/// Unit steps and nothing added around the image (`HasStridesOneAndNoPadding`).
pub(super) fn is_plain(node: &Node, kernel: &[u64]) -> bool {
    all_are(node.ints("strides"), 1) && is_unpadded(node, kernel)
}

fn product(dims: &[u64]) -> Option<u64> {
    dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim))
}

fn all_are(values: &[i64], expected: i64) -> bool {
    values.iter().all(|&value| value == expected)
}

/// Whether nothing is added around the image; `SAME_*` with unit steps pads unless the kernel is 1.
fn is_unpadded(node: &Node, kernel: &[u64]) -> bool {
    match node.text("auto_pad", "NOTSET") {
        "SAME_UPPER" | "SAME_LOWER" => kernel.iter().all(|&side| side == 1),
        "VALID" => true,
        _ => all_are(node.ints("pads"), 0),
    }
}

/// Integer convolution: one image of unrolled patches, a byte an element (`conv_integer.cc`).
pub(super) fn integer(call: &Call<'_>) -> Option<Vec<Step>> {
    let (filters, output) = (call.input(1)?, call.output(0)?);
    let kernel = filters.dims.get(2..)?;
    let pointwise = product(kernel)? == 1 && is_plain(call.node, kernel);
    let patch = product(filters.dims.get(1..)?)?;
    let bytes = if pointwise { 0 } else { product(output.dims.get(2..)?)?.checked_mul(patch)? };
    Some(outputs_then(call.node, "unrolled patches", bytes))
}

/// Transposed convolution: the products of one group before they are folded together
/// (`conv_transpose.cc`).
pub(super) fn transposed(call: &Call<'_>) -> Option<Vec<Step>> {
    let (input, filters) = (call.input(0)?, call.input(1)?);
    let columns = product(filters.dims.get(1..)?)?;
    let bytes = columns.checked_mul(product(input.dims.get(2..)?)?)?.checked_mul(4)?;
    Some(outputs_then(call.node, "unfolded products", bytes))
}
