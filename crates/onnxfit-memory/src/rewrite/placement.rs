//! Which provider runs a node, as far as fusions ask.
//!
//! graph_partitioner.cc (ORT 1.31). On the CPU provider a node has no place if there is no kernel
//! for its types. For CUDA the memory plan decides in detail; here a node is on CUDA unless its
//! operator has no CUDA kernel.

use onnxfit_onnx::DataType;

use super::net::Net;
use super::{Context, MS, Provider, kernels};

/// Operators of ONNX's domain that the CUDA provider has no kernel for (ORT 1.31).
const CPU_ONLY: &[&str] = &[
    "Bernoulli",
    "BitShift",
    "BlackmanWindow",
    "CenterCropPad",
    "Col2Im",
    "DFT",
    "Det",
    "DynamicQuantizeLinear",
    "GlobalLpPool",
    "HammingWindow",
    "HannWindow",
    "Hardmax",
    "ImageDecoder",
    "LpNormalization",
    "MaxRoiPool",
    "MaxUnpool",
    "MelWeightMatrix",
    "Multinomial",
    "OptionalGetElement",
    "RegexFullMatch",
    "STFT",
    "SplitToSequence",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
    "Unique",
];

/// Gives every node its provider, in bodies too.
pub(super) fn place(net: &mut Net, context: &Context<'_>) {
    for id in net.ids().collect::<Vec<_>>() {
        let op = net.op(id);
        let types: Vec<DataType> = op.inputs.iter().flatten().filter_map(|arg| net.arg(*arg).elem).collect();
        let on_cuda = context.options.provider == Provider::Cuda
            && (op.domain.is_empty() || op.domain == MS)
            && !CPU_ONLY.contains(&op.op_type.as_str());
        let provider = if on_cuda {
            Some(Provider::Cuda)
        } else {
            kernels::cpu_has(&op.domain, &op.op_type, &types).then_some(Provider::Cpu)
        };
        net.op_mut(id).provider = provider;
        let mut bodies = std::mem::take(&mut net.op_mut(id).bodies);
        for body in &mut bodies {
            place(&mut body.net, context);
        }
        net.op_mut(id).bodies = bodies;
    }
}
