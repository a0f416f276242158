//! Copies of weights that CPU kernels make at load, in the layout they compute in.
//!
//! `session_state.cc:PrepackConstantInitializedTensors` (ORT 1.31) reserves each on the session's
//! allocator, which is why it shows in the arena although the original weight does not. One rule a
//! family; nodes of one operator that pack the same weight end up sharing one copy.

mod conv_transpose;
mod integer;
mod matmul;
mod recurrent;

use std::collections::BTreeMap;

use onnxfit_base::Bytes;

use crate::program::{Node, NodeIdx, NodeProvider, Program, ValueIdx};
use crate::sizes::TensorSize;

/// What one node makes of one constant input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) node: NodeIdx,
    pub(crate) weight: ValueIdx,
    /// Equal for equal contents.
    pub(crate) identity: u64,
    pub(crate) buffers: Vec<Bytes>,
    /// Whether it is reserved; the others come from the arena's regions.
    pub(crate) reserved: bool,
}

/// A constant weight of an enclosing graph.
#[derive(Clone, Debug)]
pub(crate) struct OuterWeight {
    pub(crate) size: TensorSize,
    pub(crate) identity: u64,
}

/// What a rule is asked: a node, the position of a constant input, and that input's tensor.
type Rule = fn(&Node, usize, &TensorSize) -> Vec<u64>;

/// Domain (`*` for any), operator, rule.
const RULES: &[(&str, &str, Rule)] = &[
    ("", "MatMul", matmul::matmul),
    ("com.microsoft", "FusedMatMul", matmul::matmul),
    ("", "Gemm", matmul::gemm),
    ("com.microsoft", "FusedGemm", matmul::gemm),
    ("", "MatMulInteger", integer::matmul_integer),
    ("com.microsoft", "MatMulIntegerToFloat", integer::matmul_integer),
    ("com.microsoft", "DynamicQuantizeMatMul", integer::matmul_integer),
    ("", "LSTM", recurrent::lstm),
    ("", "GRU", recurrent::gru),
    ("", "ConvTranspose", conv_transpose::cpu),
];

/// Every packed copy, in node order.
///
/// `outer` holds the constant weights of the graphs around this one, by name.
pub(crate) fn packed(program: &Program, outer: &BTreeMap<String, OuterWeight>) -> Vec<Packed> {
    let mut sizes: Vec<Option<(&TensorSize, u64)>> = vec![None; program.values.len()];
    for weight in program.weights.iter().filter(|weight| !weight.overridable) {
        sizes[weight.value.index()] = weight.size.as_ref().map(|size| (size, weight.identity));
    }
    for capture in &program.captured {
        sizes[capture.inner.index()] = outer.get(&capture.name).map(|outer| (&outer.size, outer.identity));
    }
    let mut packed = Vec::new();
    for index in program.node_indices() {
        let node = program.node(index);
        if node.provider != NodeProvider::Cpu {
            continue;
        }
        let rule = RULES.iter().find(|(domain, operator, _)| *domain == node.domain && *operator == node.op_type);
        let Some((.., rule)) = rule else { continue };
        for (position, input) in node.inputs.iter().enumerate() {
            let Some((weight, (size, identity))) = input.and_then(|input| Some((input, sizes[input.index()]?))) else {
                continue;
            };
            let buffers: Vec<Bytes> = rule(node, position, size).into_iter().map(Bytes).collect();
            if !buffers.is_empty() {
                let reserved = node.op_type != "ConvTranspose";
                packed.push(Packed { node: index, weight, identity, buffers, reserved });
            }
        }
    }
    packed
}
