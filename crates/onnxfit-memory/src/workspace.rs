//! What kernels allocate besides their outputs, one file an operator family.
//!
//! A rule gives the script of one call: outputs and scratch in the order in which the kernel takes
//! them. An operator without a rule allocates its outputs in order and nothing else.

mod attention;
mod conv;
pub(crate) mod cuda;
mod einsum;
mod fused;
mod lrn;
mod plain;
mod quantized;
mod recurrent;
mod resize;
mod select;
mod softmax;

use onnxfit_base::Bytes;

use crate::overhead::Bound;
use crate::program::{Node, NodeProvider, Program, WeightValues};
use crate::releases::Release;
use crate::sizes::{RunSizes, TensorSize};

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
        let value = self.node.input(position)?;
        let original = self.program.value(value).copy_of;
        let weight =
            self.program.weights.iter().find(|weight| weight.value == value || Some(weight.value) == original)?;
        match weight.values.as_ref()? {
            WeightValues::Integers(values) if !weight.overridable => Some(values.clone()),
            _ => None,
        }
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
type Rule = fn(&Call<'_>) -> Option<Vec<Step>>;

/// One line of the registry: provider, domain (`*` for any), operator, rule.
type Entry = (NodeProvider, &'static str, &'static str, Rule);

/// Every rule.
const RULES: &[Entry] = &[
    (NodeProvider::Cpu, "", "Attention", attention::standard),
    (NodeProvider::Cpu, "com.microsoft", "Attention", attention::joined),
    (NodeProvider::Cpu, "com.microsoft", "MultiHeadAttention", attention::multi_head),
    (NodeProvider::Cpu, "com.microsoft", "GroupQueryAttention", attention::group_query),
    (NodeProvider::Cpu, "", "Conv", conv::cpu),
    (NodeProvider::Cpu, "com.microsoft", "FusedConv", conv::cpu),
    (NodeProvider::Cpu, "", "ConvInteger", conv::integer),
    (NodeProvider::Cpu, "", "ConvTranspose", conv::transposed),
    (NodeProvider::Cpu, "", "Where", select::choose),
    (NodeProvider::Cpu, "", "Sum", select::variadic),
    (NodeProvider::Cpu, "", "Max", select::variadic),
    (NodeProvider::Cpu, "", "Min", select::variadic),
    (NodeProvider::Cpu, "", "Mean", select::variadic),
    (NodeProvider::Cpu, "", "Softmax", softmax::cpu),
    (NodeProvider::Cpu, "", "LogSoftmax", softmax::cpu),
    (NodeProvider::Cpu, "", "Hardmax", softmax::cpu),
    (NodeProvider::Cpu, "", "Resize", resize::cpu),
    (NodeProvider::Cpu, "", "Upsample", resize::cpu),
    (NodeProvider::Cpu, "", "LRN", lrn::cpu),
    (NodeProvider::Cpu, "", "Einsum", einsum::cpu),
    (NodeProvider::Cpu, "", "RNN", recurrent::plain),
    (NodeProvider::Cpu, "", "LSTM", recurrent::lstm),
    (NodeProvider::Cpu, "", "GRU", recurrent::gru),
    (NodeProvider::Cpu, "com.microsoft", "DynamicQuantizeLSTM", recurrent::quantized_lstm),
    (NodeProvider::Cpu, "com.microsoft", "DynamicQuantizeMatMul", quantized::dynamic_matmul),
    (NodeProvider::Cpu, "", "QLinearMatMul", quantized::matmul),
    (NodeProvider::Cpu, "com.microsoft", "QGemm", quantized::gemm),
    (NodeProvider::Cpu, "", "QLinearConv", quantized::conv),
    (NodeProvider::Cpu, "com.microsoft", "QLinearConv", quantized::conv),
    (NodeProvider::Cpu, "com.microsoft", "BiasGelu", fused::bias_gelu),
    (NodeProvider::Cpu, "com.microsoft", "FastGelu", fused::bias_gelu),
    (NodeProvider::Cpu, "com.microsoft", "SkipLayerNormalization", fused::skip_layer_norm),
    (NodeProvider::Cpu, "com.microsoft", "SkipSimplifiedLayerNormalization", fused::skip_layer_norm),
];

/// The script of one kernel call, and whether any of its scratch is a band.
pub(crate) fn script(call: &Call<'_>) -> (Vec<Step>, bool) {
    let node = call.node;
    if node.provider == NodeProvider::Cuda {
        return cuda::script(call);
    }
    let rule = RULES.iter().find(|(provider, domain, operator, _)| {
        *provider == node.provider && (*domain == "*" || *domain == node.domain) && *operator == node.op_type
    });
    (rule.and_then(|(.., rule)| rule(call)).unwrap_or_else(|| outputs_in_order(node).collect()), false)
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

/// Whether a node's scratch is known: a rule, or an operator that is known to need none.
pub(crate) fn is_modelled(node: &Node) -> bool {
    if node.provider == NodeProvider::Cuda {
        return cuda::is_modelled(node);
    }
    let has_rule = RULES.iter().any(|(provider, domain, operator, _)| {
        *provider == node.provider && (*domain == "*" || *domain == node.domain) && *operator == node.op_type
    });
    has_rule || plain::needs_no_scratch(node)
}
