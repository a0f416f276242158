//! Products with weights of few bits.
//!
//! `contrib_ops/cpu/quantization/matmul_nbits.cc`, `mlas/lib/sqnbitgemm_kernel_avx_common.h`
//! (ORT 1.31, x64): all scratch is reserved, not taken from the arena's regions.

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

use super::{Call, Step, outputs_in_order};
use crate::prepack::{Blocks, Computes};

/// `MatMulNBits`: A by blocks of bytes, or B as floats; half-precision operands are widened.
pub(super) fn matmul(call: &Call<'_>) -> Option<Vec<Step>> {
    let (input, output) = (call.input(0)?, call.output(0)?);
    let byte_zero_points = call.input(3).is_none_or(|zeros| zeros.element == DataType::Uint8);
    let blocks = Blocks::of(call.node, byte_zero_points)?;
    let n_elements = input.n_elements()?;
    let rows = n_elements.checked_div(blocks.rows)?;
    let mut steps: Vec<Step> = outputs_in_order(call.node).collect();
    let mut reserve = |what, bytes: Option<u64>| {
        bytes.map(|bytes| steps.extend((bytes > 0).then_some(Step::Reserve { what, bytes: Bytes(bytes) })))
    };
    let is_half = input.element == DataType::Float16;
    // Constant scales and biases are widened when the session is created.
    let widened = |position: usize| {
        let operand = call.input(position).filter(|_| is_half && call.constant(position).is_none());
        operand.map_or(Some(0), |operand| operand.n_elements()?.checked_mul(4))
    };
    match blocks.computes {
        Computes::Byte => {
            // A block is its bytes, their scale and their sum.
            let a_row = blocks.per_column().checked_mul(blocks.block + 8)?;
            reserve("quantized input", batch_bytes(rows.checked_mul(a_row)?))?;
            reserve("widened scales", widened(2))?;
            reserve("widened bias", widened(5))?;
        }
        Computes::Float => {
            reserve("widened input", Some(if is_half { n_elements.checked_mul(4)? } else { 0 }))?;
            reserve("widened scales", widened(2))?;
            reserve("widened bias", widened(5))?;
        }
        Computes::Expanded => {
            reserve("widened scales", Some(if is_half { call.input(2)?.n_elements()?.checked_mul(4)? } else { 0 }))?;
            reserve("expanded weights", blocks.rows.checked_mul(blocks.columns)?.checked_mul(4))?;
            if is_half {
                reserve("widened input", n_elements.checked_mul(4))?;
                reserve("widened result", output.n_elements()?.checked_mul(4))?;
                reserve("widened bias", call.input(5).map_or(Some(0), |bias| bias.n_elements()?.checked_mul(4)))?;
            }
        }
    }
    Some(steps)
}

/// The workspace is aligned by hand to a line of floats.
fn batch_bytes(bytes: u64) -> Option<u64> {
    const ALIGNMENT: u64 = 64;
    if bytes == 0 {
        return Some(0);
    }
    bytes.checked_next_multiple_of(ALIGNMENT)?.checked_add(ALIGNMENT - 1)
}
