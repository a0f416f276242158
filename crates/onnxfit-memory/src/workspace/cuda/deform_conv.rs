//! Deformable convolution: unrolled patches of as many images as a tenth of the card allows.
//!
//! `nn/deform_conv.cc` (ORT 1.30-dev).

use super::gpu::cards;
use super::{Call, Piece, after_outputs, product};

/// `kMaxParallelImgs`.
const IMAGES_MAX: u64 = 32;

pub(super) fn columns(call: &Call<'_>) -> Option<Vec<Piece>> {
    let (input, filters, output) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let &[n_images, channels, ..] = input.dims.as_slice() else { return None };
    let image = product(&[channels, product(filters.dims.get(2..)?)?, product(output.dims.get(2..)?)?])?
        .checked_mul(input.element_bytes())?;
    let sizes: Vec<u64> = cards(call.compute_capability)
        .iter()
        .map(|card| image.checked_mul(images_at_once(n_images, image, card.memory_gib << 30)))
        .collect::<Option<_>>()?;
    let (low, high) = (*sizes.iter().min()?, *sizes.iter().max()?);
    Some(after_outputs(call.node, [Piece::between("unrolled patches", low, sizes[sizes.len() / 2], high)]))
}

/// Rounds as few as the budget allows, then as even as possible.
fn images_at_once(n_images: u64, image_bytes: u64, memory_bytes: u64) -> u64 {
    let budget = (memory_bytes / 10).clamp(32 << 20, 2 << 30);
    let most = (budget / image_bytes.max(1)).clamp(1, IMAGES_MAX);
    let n_images = n_images.max(1);
    n_images.div_ceil(n_images.div_ceil(n_images.min(most)))
}
