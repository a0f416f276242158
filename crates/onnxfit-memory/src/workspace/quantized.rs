//! Quantized kernels on the CPU: accumulators, quantized copies and unrolled patches.
//!
//! `quantization/qlinearconv.cc`, `quantization/quantize_linear_matmul.cc`,
//! `contrib_ops/cpu/quantization/dynamic_quantize_matmul.cc`, `quant_gemm.cc` (ORT 1.31, x64).

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

use super::{Call, Step, outputs_then};
use crate::prepack::QuantizedFilters;

fn product(dims: &[u64]) -> Option<u64> {
    dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim))
}

/// `DynamicQuantizeMatMul` quantizes A before it asks for its output.
pub(super) fn dynamic_matmul(call: &Call<'_>) -> Option<Vec<Step>> {
    let bytes = Bytes(call.input(0)?.n_elements()?);
    Some(vec![Step::Scratch { what: "quantized input", bytes }, Step::Output(0)])
}

/// `QLinearMatMul`: products as 32-bit integers.
pub(super) fn matmul(call: &Call<'_>) -> Option<Vec<Step>> {
    let bytes = call.output(0)?.n_elements()?.checked_mul(4)?;
    Some(outputs_then(call.node, "products", bytes))
}

/// `QGemm`: the same when its result is quantized again.
pub(super) fn gemm(call: &Call<'_>) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    if call.node.int("transA", 0) != 0 {
        let bytes = Bytes(call.input(0)?.n_elements()?);
        steps.push(Step::Scratch { what: "transposed input", bytes });
    }
    steps.push(Step::Output(0));
    if call.node.input(7).is_some() {
        let bytes = Bytes(call.output(0)?.n_elements()?.checked_mul(4)?);
        steps.push(Step::Scratch { what: "products", bytes });
    }
    Some(steps)
}

/// `QLinearConv` of constant filters, channels first or last.
pub(super) fn conv(call: &Call<'_>) -> Option<Vec<Step>> {
    let (input, filters, output) = (call.input(0)?, call.input(3)?, call.output(0)?);
    let n_spatial = input.dims.len().checked_sub(2)?;
    let last = call.node.int("channels_last", 0) != 0;
    let first_spatial = if last { 1 } else { 2 };
    let pixels = product(output.dims.get(first_spatial..first_spatial + n_spatial)?)?;
    let kernel = filters.dims.get(2..)?;
    let kernel_size = product(kernel)?;
    let n_groups = u64::try_from(call.node.int("group", 1)).ok()?.max(1);
    let [n_filters, group_channels] = *filters.dims.get(..2)? else { return None };
    let packing = QuantizedFilters::of(input.element == DataType::Int8, filters, n_groups);
    let symmetric = packing == QuantizedFilters::Symmetric;
    let depthwise = group_channels == 1
        && n_filters == n_groups
        && matches!(packing, QuantizedFilters::Symmetric | QuantizedFilters::Reordered);
    let channels = if depthwise { n_groups } else { group_channels };
    let image_bytes = product(input.dims.get(1..)?)?;
    let result_bytes = product(output.dims.get(1..)?)?;
    let mut steps = vec![Step::Output(0)];
    let mut take = |what, bytes| steps.push(Step::Scratch { what, bytes: Bytes(bytes) });
    if !symmetric {
        take("products", result_bytes.checked_mul(4)?);
    }
    if !last {
        take("transposed input", image_bytes);
        take("transposed output", result_bytes);
    }
    let pointwise = kernel_size == 1 && super::conv::is_plain(call.node, kernel);
    if depthwise || (!pointwise && symmetric) {
        let n_images = if symmetric && last { input.dims[0] } else { 1 };
        take("patch pointers", kernel_size.checked_mul(pixels)?.checked_mul(8)?.checked_mul(n_images)?);
    } else if !pointwise {
        let patches = channels.checked_mul(kernel_size)?.checked_mul(pixels)?;
        let n_copies = if n_spatial > 2 { n_groups } else { 1 };
        take("unrolled patches", patches.checked_mul(n_copies)?);
    }
    Some(steps)
}
