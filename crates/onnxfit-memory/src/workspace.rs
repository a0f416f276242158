//! What kernels allocate besides their outputs, one file an operator family.
//!
//! A rule gives the script of one call: outputs and scratch in the order in which the kernel takes
//! them. An operator without a rule allocates its outputs in order and nothing else.

mod attention;
mod conv;
pub(crate) mod cuda;
mod deform;
mod einsum;
mod fused;
mod lrn;
mod n_bits;
mod plain;
mod quantized;
mod recurrent;
mod resize;
mod select;
mod signal;
mod softmax;

use std::sync::LazyLock;

use onnxfit_base::{Bytes, Operators};

use crate::overhead::Bound;
use crate::program::{Node, NodeProvider, Program, Weight, WeightValues};
use crate::releases::Release;
use crate::sizes::{RunSizes, TensorSize};
use crate::weights::WeightIndex;

/// One allocation step of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The output at this position is asked for.
    Output(usize),
    /// Scratch is taken; it is given back at the end of the kernel, last first.
    Scratch {
        /// What it is.
        what: &'static str,
        /// How much.
        bytes: Bytes,
    },
    /// The same, reserved: a block of its own beside the arena's regions.
    Reserve {
        /// What it is.
        what: &'static str,
        /// How much.
        bytes: Bytes,
    },
    /// The scratch taken as this number (from zero) is given back early.
    Give(usize),
}

/// What a rule may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The node.
    pub(crate) node: &'a Node,
    /// The tensors of this run.
    pub(crate) sizes: &'a RunSizes,
    /// Intra-operator threads.
    pub(crate) n_threads: u64,
    /// The program that the node belongs to.
    pub(crate) program: &'a Program,
    /// Its weights by value.
    pub(crate) weights: &'a WeightIndex,
    /// The card's, where known.
    pub(crate) compute_capability: Option<(u32, u32)>,
    /// Which end of a band counts.
    pub(crate) bound: Bound,
    /// The release that runs it.
    pub(crate) release: Release,
}

impl<'a> Call<'a> {
    /// The integers of a small weight at an input position.
    pub(crate) fn integers(&self, position: usize) -> Option<Vec<i64>> {
        match self.constant(position)?.values.as_ref()? {
            WeightValues::Integers(values) => Some(values.clone()),
            _ => None,
        }
    }

    /// The constant at an input position.
    pub(crate) fn constant(&self, position: usize) -> Option<&'a Weight> {
        let weight = self.weights.get(self.program, self.node.input(position)?)?;
        (!weight.overridable).then_some(weight)
    }

    /// The tensor at an input position.
    pub(crate) fn input(&self, position: usize) -> Option<&'a TensorSize> {
        self.sizes.tensor(self.node.input(position)?)
    }

    /// The tensor at an output position.
    pub(crate) fn output(&self, position: usize) -> Option<&'a TensorSize> {
        self.sizes.tensor(self.node.output(position)?)
    }
}

/// A rule; `None` when the shapes it needs are unknown.
pub(crate) type Rule = fn(&Call<'_>) -> Option<Vec<Step>>;

/// One line of the registry: domain, operator, rule.
type Entry = (&'static str, &'static str, Rule);

/// Every rule of the CPU provider.
const RULES: &[Entry] = &[
    ("", "Attention", attention::standard),
    ("com.microsoft", "Attention", attention::joined),
    ("com.microsoft", "MultiHeadAttention", attention::multi_head),
    ("com.microsoft", "GroupQueryAttention", attention::group_query),
    ("", "Conv", conv::cpu),
    ("com.microsoft", "FusedConv", conv::cpu),
    ("", "ConvInteger", conv::integer),
    ("", "ConvTranspose", conv::transposed),
    ("", "Where", select::choose),
    ("", "Sum", select::variadic),
    ("", "Max", select::variadic),
    ("", "Min", select::variadic),
    ("", "Mean", select::variadic),
    ("", "Softmax", softmax::cpu),
    ("", "LogSoftmax", softmax::cpu),
    ("", "Hardmax", softmax::cpu),
    ("", "Resize", resize::cpu),
    ("", "Upsample", resize::cpu),
    ("", "LRN", lrn::cpu),
    ("", "Einsum", einsum::cpu),
    ("", "DFT", signal::transform),
    ("", "STFT", signal::short_time),
    ("", "DeformConv", deform::cpu),
    ("", "RNN", recurrent::plain),
    ("", "LSTM", recurrent::lstm),
    ("", "GRU", recurrent::gru),
    ("com.microsoft", "DynamicQuantizeLSTM", recurrent::quantized_lstm),
    ("com.microsoft", "DynamicQuantizeMatMul", quantized::dynamic_matmul),
    ("com.microsoft", "MatMulNBits", n_bits::matmul),
    ("", "QLinearMatMul", quantized::matmul),
    ("com.microsoft", "QGemm", quantized::gemm),
    ("", "QLinearConv", quantized::conv),
    ("com.microsoft", "QLinearConv", quantized::conv),
    ("com.microsoft", "BiasGelu", fused::bias_gelu),
    ("com.microsoft", "FastGelu", fused::bias_gelu),
    ("com.microsoft", "SkipLayerNormalization", fused::skip_layer_norm),
    ("com.microsoft", "SkipSimplifiedLayerNormalization", fused::skip_layer_norm),
];

/// How the script of a node's calls is found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// By a rule of the CPU provider.
    Cpu(Rule),
    /// By a rule of the CUDA provider.
    Cuda(cuda::Rule),
}

impl Script {
    /// The script of one kernel call, and whether any of its scratch is a band; `None` when the
    /// shapes it needs are unknown.
    pub(crate) fn steps(self, call: &Call<'_>) -> Option<(Vec<Step>, bool)> {
        match self {
            Self::Cpu(rule) => Some((rule(call)?, false)),
            Self::Cuda(rule) => cuda::steps(rule, call),
        }
    }
}

/// The rule of a node's operator on its provider.
pub(crate) fn script_of(node: &Node) -> Option<Script> {
    static TABLE: LazyLock<Operators<Rule>> = LazyLock::new(|| Operators::of(RULES.iter().copied()));
    match node.provider {
        NodeProvider::Cpu => TABLE.get(&node.domain, &node.op_type).map(|rule| Script::Cpu(*rule)),
        NodeProvider::Cuda => cuda::rule_of(node).map(Script::Cuda),
    }
}

/// One step for every output that is there.
pub(crate) fn outputs_in_order(node: &Node) -> impl Iterator<Item = Step> + '_ {
    (0..node.outputs.len()).filter(|&position| node.output(position).is_some()).map(Step::Output)
}

/// The usual script: outputs in order, then one scratch unless it is empty.
pub(crate) fn outputs_then(node: &Node, what: &'static str, bytes: u64) -> Vec<Step> {
    let scratch = (bytes > 0).then_some(Step::Scratch { what, bytes: Bytes(bytes) });
    outputs_in_order(node).chain(scratch).collect()
}

/// Whether a node's operator is known to take no scratch on its provider.
pub(crate) fn needs_no_scratch(node: &Node) -> bool {
    match node.provider {
        NodeProvider::Cpu => plain::needs_no_scratch(node),
        NodeProvider::Cuda => cuda::needs_no_scratch(node),
    }
}

/// A table of operators of which nothing more is said: lists of the standard domain, and contributed ones.
fn names(standard: &[&[&'static str]], contributed: &[&'static str]) -> Operators<()> {
    let standard = standard.iter().copied().flatten().map(|operator| ("", *operator, ()));
    Operators::of(standard.chain(contributed.iter().map(|operator| ("com.microsoft", *operator, ()))))
}
