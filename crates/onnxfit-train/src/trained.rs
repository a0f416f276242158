//! The model with trained weights in place of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use onnxfit_graph::Model;
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{TensorError, TensorSource};
use onnxfit_runtime::Tensor;

/// Weights of a model, some of them replaced.
pub struct ReplacedWeights<'a> {
    /// Where the others are.
    pub original: &'a dyn TensorSource,
    /// The new ones, by name.
    pub replaced: &'a BTreeMap<String, Tensor>,
}

impl TensorSource for ReplacedWeights<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Bytes, TensorError> {
        match self.replaced.get(tensor.name()).and_then(Tensor::bytes) {
            Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            None => self.original.tensor_bytes(tensor),
        }
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        if self.replaced.contains_key(tensor.name()) { Ok(()) } else { self.original.check(tensor) }
    }
}

/// The same graph with these weights: nodes, names, opset and metadata stay as they are. Gives the
/// names of weights that the model does not have.
pub fn replaced(model: &Model, weights: &BTreeMap<String, Tensor>) -> (ModelProto, Vec<String>) {
    let mut proto = model.to_proto();
    let mut missing: Vec<String> = weights.keys().cloned().collect();
    for tensor in proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let Some(weight) = weights.get(tensor.name()) else { continue };
        let Some(bytes) = weight.bytes() else { continue };
        missing.retain(|name| name != tensor.name());
        let dims: Vec<i64> = weight.shape().iter().map(|dim| *dim as i64).collect();
        tensor.dims = dims;
        tensor.data_type = Some(weight.element_type() as i32);
        tensor.set_raw(Bytes::copy_from_slice(bytes));
    }
    (proto, missing)
}
