//! Alias and in-place declarations of the CPU kernels (`core/providers/cpu`, `contrib_ops/cpu`).

use super::{HostOutputs, KernelTraits, Pairs, Row};

const FIRST: Pairs = &[(0, 0)];
const RESIDUAL: Pairs = &[(3, 0)];

const fn alias(domain: &'static str, operators: &'static [&'static str], alias: Pairs) -> Row {
    let traits = KernelTraits { alias, may_in_place: &[], host_inputs: &[], host_outputs: HostOutputs::None };
    Row { domain, operators, traits }
}

const fn in_place(domain: &'static str, operators: &'static [&'static str], may_in_place: Pairs) -> Row {
    let traits = KernelTraits { alias: &[], may_in_place, host_inputs: &[], host_outputs: HostOutputs::None };
    Row { domain, operators, traits }
}

pub(super) const TABLE: &[Row] = &[
    alias("", &["Reshape", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Optional", "OptionalGetElement"], FIRST),
    alias("com.microsoft", &["ExpandDims"], FIRST),
    alias("", &["BatchNormalization"], &[(3, 1), (4, 2)]),
    in_place(
        "",
        &[
            // activations.cc; HardSwish, Gelu and Erf are not among them.
            "Relu",
            "Sigmoid",
            "Tanh",
            "LeakyRelu",
            "Elu",
            "Selu",
            "Celu",
            "HardSigmoid",
            "Softplus",
            "Softsign",
            "ThresholdedRelu",
            "ParametricSoftplus",
            "ScaledTanh",
            // The rest, file by file.
            "Softmax",
            "LogSoftmax",
            "Clip",
            "Cast",
            "BitCast",
            "Trilu",
            "Scatter",
            "ScatterElements",
            "TensorScatter",
            "Shrink",
            "STFT",
            "HannWindow",
            "HammingWindow",
            "BlackmanWindow",
            "MelWeightMatrix",
        ],
        FIRST,
    ),
    in_place("ai.onnx.ml", &["Scaler", "Normalizer", "TreeEnsemble", "TreeEnsembleRegressor"], FIRST),
    in_place("com.microsoft", &["SampleOp", "MoE"], FIRST),
    in_place("com.microsoft", &["FusedConv"], RESIDUAL),
    in_place("com.ms.internal.nhwc", &["NhwcFusedConv"], RESIDUAL),
    in_place("com.microsoft", &["NhwcFusedConv"], RESIDUAL),
    in_place("com.microsoft.nchwc", &["Conv"], RESIDUAL),
    in_place("com.microsoft", &["DecoderMaskedMultiHeadAttention"], &[(5, 1), (6, 2)]),
];
