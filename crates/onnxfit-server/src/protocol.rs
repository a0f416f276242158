//! The Open Inference Protocol, version 2, with the binary extension; JSON and gRPC say the same.

pub(crate) mod datatype;
pub(crate) mod grpc;
pub(crate) mod json;
mod numbers;
pub(crate) mod raw;

use std::time::Duration;

use onnxfit::runtime::Tensors;

/// What is asked of a model, whichever way it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) inputs: Tensors,
    /// The outputs that are wanted; empty for all.
    pub(crate) outputs: Vec<String>,
    /// How long it may wait.
    pub(crate) timeout: Option<Duration>,
    /// The W3C trace that it belongs to.
    pub(crate) trace_parent: Option<String>,
}

impl Question {
    /// Bytes of its inputs.
    pub(crate) fn n_bytes(&self) -> u64 {
        let bytes = |tensor: &onnxfit::runtime::Tensor| match (tensor.bytes(), tensor.strings()) {
            (Some(bytes), _) => bytes.len() as u64,
            (None, texts) => texts.unwrap_or_default().iter().map(|text| text.len() as u64).sum(),
        };
        self.inputs.iter().map(|(_, tensor)| bytes(tensor)).sum()
    }
}
