//! What the caller knows besides the log: the model, the GPU, the options.

use onnxfit_base::Bytes;

/// What is known besides the log; all of it may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The model that was running.
    pub model: Option<&'a ModelHints>,
    /// The memory of one GPU (or of the machine, for a CPU run).
    pub memory_bytes: Option<Bytes>,
    /// Options of the session, in any form that [`crate::lint_options`] reads.
    pub options: Option<&'a str>,
}

/// The tensors of a model, as far as the reader of a log needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelHints {
    /// Every tensor that a node makes or a weight holds.
    pub tensors: Vec<TensorHint>,
    /// All weights together.
    pub weights_bytes: Bytes,
}

/// One tensor: who makes it and how large it is as a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHint {
    /// The tensor's name.
    pub name: String,
    /// The node that makes it; `None` for a weight or a graph input.
    pub node: Option<String>,
    /// The operator of that node.
    pub op_type: Option<String>,
    /// The dimensions.
    pub dims: Vec<DimHint>,
    /// Bytes of one element.
    pub element_bytes: u64,
}

/// One dimension of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimHint {
    /// A number.
    Known(u64),
    /// A name, such as `batch`: the same name is the same number.
    Named(String),
}

impl ModelHints {
    /// The operator of the node with this name.
    pub fn op_type_of(&self, node: &str) -> Option<&str> {
        self.tensors.iter().find(|tensor| tensor.node.as_deref() == Some(node))?.op_type.as_deref()
    }
}
