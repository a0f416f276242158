//! The changes that `fix` may make to a model, each behind one question.

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::TensorSource;
use onnxfit_rewrite::half::{HalfOptions, HalfOutcome, HalfType};

pub(crate) use onnxfit_rewrite::batch::BatchSplit;

/// The model in half precision, inputs and outputs as they were; or why not.
pub(crate) fn to_half(model: &GraphModel, weights: &dyn TensorSource, target: HalfType) -> Result<HalfOutcome, String> {
    onnxfit_rewrite::half::to_half(model, weights, &HalfOptions::new(target)).map_err(|error| error.to_string())
}

/// How the batch may be cut; or why not.
pub(crate) fn batch_split(model: &GraphModel, dim: Option<&str>) -> Result<BatchSplit, String> {
    onnxfit_rewrite::batch::batch_split(model, dim).map_err(|refusal| format!("the batch is not cut: {refusal}"))
}
