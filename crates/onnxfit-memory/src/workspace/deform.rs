//! Deformable convolution on the CPU: sampled patches of one image, and where they are sampled.
//!
//! `core/providers/cpu/nn/deform_conv.cc` (ORT 1.31).

use onnxfit_base::Bytes;

use super::{Call, Step, outputs_in_order};

/// Pixels that are planned together, each with an index and a weight for four corners.
const LANES: u64 = 8;

pub(super) fn cpu(call: &Call<'_>) -> Option<Vec<Step>> {
    let (input, filters, output) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let mut steps: Vec<Step> = outputs_in_order(call.node).collect();
    if output.n_elements()? == 0 {
        return Some(steps);
    }
    let product = |dims: &[u64]| dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
    let (kernel, pixels) = (product(filters.dims.get(2..)?)?, product(output.dims.get(2..)?)?);
    let n_offset_groups = u64::try_from(call.node.int("offset_group", 1)).ok()?.max(1);
    let element = input.element_bytes();
    let patches = input.dims.get(1)?.checked_mul(kernel)?.checked_mul(pixels)?.checked_mul(element)?;
    let block = 4 * LANES * (4 + element);
    let blocks = n_offset_groups.checked_mul(kernel)?.checked_mul(pixels.div_ceil(LANES))?;
    // Blocks are aligned to a cache line.
    let plan = blocks.checked_mul(block.next_multiple_of(64))?;
    steps.push(Step::Scratch { what: "sampled patches", bytes: Bytes(patches) });
    steps.push(Step::Scratch { what: "sampling plan", bytes: Bytes(plan) });
    Some(steps)
}
