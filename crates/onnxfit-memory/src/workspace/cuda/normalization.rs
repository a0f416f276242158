//! Normalizations that hand statistics to cuDNN or to themselves.
//!
//! `nn/batch_norm.cc`, `nn/instance_norm.cc`, `contrib_ops/cuda/diffusion/group_norm.cc` (ORT 1.30-dev).

use onnxfit_onnx::DataType;

use super::{Call, Piece, after_outputs, product};

/// fp16 parameters are cast to fp32: scale, bias, mean and variance.
pub(super) fn batch(call: &Call<'_>) -> Option<Vec<Piece>> {
    let input = call.input(0)?;
    let channels = *input.dims.get(1).unwrap_or(&1);
    let bytes = channels.checked_mul(4)?;
    let is_half = input.element == DataType::Float16;
    let names = ["scale as float", "bias as float", "mean as float", "variance as float"];
    Some(after_outputs(call.node, names.into_iter().filter(|_| is_half).map(|what| Piece::exact(what, bytes))))
}

/// One image is a batch normalization; several have statistics of their own.
pub(super) fn instance(call: &Call<'_>) -> Option<Vec<Piece>> {
    let input = call.input(0)?;
    let &[n_images, channels, ..] = input.dims.as_slice() else { return None };
    let is_half = input.element == DataType::Float16;
    let statistic_bytes = if is_half { 4 } else { input.element_bytes() };
    let scratch: Vec<Piece> = if n_images == 1 {
        let bytes = channels.checked_mul(4)?;
        let names: &[&'static str] = if is_half { &["scale as float", "bias as float"] } else { &[] };
        names.iter().map(|&what| Piece::exact(what, bytes)).collect()
    } else {
        let bytes = product(&[n_images, channels, statistic_bytes])?;
        ["mean", "variance", "unused scale", "unused bias"].map(|what| Piece::exact(what, bytes)).to_vec()
    };
    Some(after_outputs(call.node, scratch))
}

/// Two sums for every image and group.
pub(super) fn group(call: &Call<'_>) -> Option<Vec<Piece>> {
    let n_images = *call.input(0)?.dims.first()?;
    let n_groups = u64::try_from(call.node.int("groups", 32)).ok()?;
    Some(after_outputs(call.node, [Piece::exact("group sums", product(&[n_images, n_groups, 8])?)]))
}
