//! Copies of weights that CPU kernels make at load, in the layout they compute in.
//!
//! `session_state.cc:PrepackConstantInitializedTensors` (ORT 1.31) reserves each on the session's
//! allocator, which is why it shows in the arena although the original weight does not. One rule a
//! family; nodes of one operator that pack the same weight end up sharing one copy.

mod attention;
mod conv_transpose;
mod integer;
mod matmul;
mod n_bits;
mod normalization;
mod quantized_conv;
mod recurrent;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use onnxfit_base::{Bytes, Operators};

use crate::program::{Node, NodeIdx, NodeProvider, Program, ValueIdx};
use crate::sizes::TensorSize;

pub(crate) use n_bits::{Blocks, Computes};
pub(crate) use quantized_conv::QuantizedFilters;

/// One block that a kernel takes while it repacks a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Buffer {
    pub(crate) bytes: Bytes,
    /// Whether it is reserved; the others come from the arena's regions.
    pub(crate) reserved: bool,
    /// Whether it is given back once the weight is packed.
    pub(crate) temporary: bool,
}

impl Buffer {
    const fn reserved(bytes: u64) -> Self {
        Self { bytes: Bytes(bytes), reserved: true, temporary: false }
    }

    const fn taken(bytes: u64) -> Self {
        Self { bytes: Bytes(bytes), reserved: false, temporary: false }
    }

    const fn temporary(bytes: u64) -> Self {
        Self { bytes: Bytes(bytes), reserved: true, temporary: true }
    }
}

/// What one node makes of one constant input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) node: NodeIdx,
    pub(crate) weight: ValueIdx,
    /// Equal for equal contents.
    pub(crate) identity: u64,
    pub(crate) buffers: Vec<Buffer>,
    /// Whether an equal copy of another node is used instead.
    pub(crate) shared: bool,
}

/// A constant weight of an enclosing graph.
#[derive(Clone, Debug)]
pub(crate) struct OuterWeight {
    pub(crate) size: TensorSize,
    pub(crate) identity: u64,
}

/// What a rule is asked: what becomes of one constant input.
pub(crate) struct Asked<'a> {
    node: &'a Node,
    position: usize,
    size: &'a TensorSize,
    constants: &'a [Option<(&'a TensorSize, u64)>],
}

impl<'a> Asked<'a> {
    /// The tensor at another position, if it is constant.
    fn constant(&self, position: usize) -> Option<&'a TensorSize> {
        let value = self.node.input(position)?;
        self.constants[value.index()].map(|(size, _)| size)
    }
}

/// The blocks that are taken, in order; none when the weight stays as it is.
type Rule = fn(&Asked<'_>) -> Vec<Buffer>;

/// Domain (`*` for any), operator, rule.
const RULES: &[(&str, &str, Rule)] = &[
    ("", "MatMul", matmul::matmul),
    ("com.microsoft", "FusedMatMul", matmul::matmul),
    ("", "Gemm", matmul::gemm),
    ("com.microsoft", "FusedGemm", matmul::gemm),
    ("", "MatMulInteger", integer::matmul_integer),
    ("com.microsoft", "MatMulIntegerToFloat", integer::matmul_integer),
    ("com.microsoft", "DynamicQuantizeMatMul", integer::matmul_integer),
    ("com.microsoft", "QGemm", integer::q_gemm),
    ("", "QLinearMatMul", integer::q_linear_matmul),
    ("", "QLinearConv", quantized_conv::filters),
    ("com.microsoft", "QLinearConv", quantized_conv::filters),
    ("com.microsoft", "DynamicQuantizeLSTM", integer::lstm),
    ("com.microsoft", "MatMulNBits", n_bits::matmul),
    ("", "LSTM", recurrent::lstm),
    ("", "GRU", recurrent::gru),
    ("", "ConvTranspose", conv_transpose::cpu),
    ("com.microsoft", "Attention", attention::joined),
    ("", "LayerNormalization", normalization::layer),
    ("", "SimplifiedLayerNormalization", normalization::layer),
    ("com.microsoft", "SkipLayerNormalization", normalization::skip_layer),
    ("com.microsoft", "SkipSimplifiedLayerNormalization", normalization::skip_layer),
];

static TABLE: LazyLock<Operators<Rule>> = LazyLock::new(|| Operators::of(RULES.iter().copied()));

/// Whether the kernel hands its copy to `PrePackedWeights`, so that an equal one of another node is used
/// instead: symmetric filters and widened operands are kept to themselves.
fn offered(node: &Node, position: usize, buffers: &[Buffer]) -> bool {
    match &*node.op_type {
        "QLinearConv" => buffers.iter().any(|buffer| buffer.reserved),
        "MatMulNBits" => position == 1,
        operator => !operator.ends_with("LayerNormalization"),
    }
}

/// Every packed copy, in node order.
///
/// `outer` holds the constant weights of the graphs around this one, by name.
pub(crate) fn packed(program: &Program, outer: &BTreeMap<String, OuterWeight>) -> Vec<Packed> {
    let mut sizes: Vec<Option<(&TensorSize, u64)>> = vec![None; program.values.len()];
    for weight in program.weights.iter().filter(|weight| !weight.overridable) {
        sizes[weight.value.index()] = weight.size.as_ref().map(|size| (size, weight.identity));
    }
    for capture in &program.captured {
        sizes[capture.inner.index()] = outer.get(capture.name.as_str()).map(|outer| (&outer.size, outer.identity));
    }
    let mut packed = Vec::new();
    for index in program.node_indices() {
        let node = program.node(index);
        if node.provider != NodeProvider::Cpu {
            continue;
        }
        let Some(rule) = TABLE.get(&node.domain, &node.op_type) else { continue };
        for (position, input) in node.inputs.iter().enumerate() {
            let Some((weight, (size, identity))) = input.and_then(|input| Some((input, sizes[input.index()]?))) else {
                continue;
            };
            let buffers = rule(&Asked { node, position, size, constants: &sizes });
            if !buffers.is_empty() {
                let shared = offered(node, position, &buffers);
                packed.push(Packed { node: index, weight, identity, buffers, shared });
            }
        }
    }
    packed
}
