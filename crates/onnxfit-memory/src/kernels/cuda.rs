//! Declarations of the CUDA kernels (`core/providers/cuda`, `contrib_ops/cuda`), and which kernels
//! exist at all (`cuda_kernels.txt`, from the registration lists).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use onnxfit_base::Operators;
use onnxfit_onnx::DataType;

use super::{HostOutputs, KernelTraits, Pairs, Row};

const FIRST: Pairs = &[(0, 0)];

const fn row(
    domain: &'static str,
    operators: &'static [&'static str],
    alias: Pairs,
    may_in_place: Pairs,
    host_inputs: &'static [usize],
) -> Row {
    Row {
        domain,
        operators,
        traits: KernelTraits { alias, may_in_place, host_inputs, host_outputs: HostOutputs::None },
    }
}

const fn host_output(operators: &'static [&'static str], host_outputs: HostOutputs) -> Row {
    Row {
        domain: "*",
        operators,
        traits: KernelTraits { alias: &[], may_in_place: &[], host_inputs: &[], host_outputs },
    }
}

pub(super) const TABLE: &[Row] = &[
    row("", &["Reshape", "Squeeze", "Unsqueeze"], FIRST, &[], &[1]),
    row("", &["Identity", "Flatten"], FIRST, &[], &[]),
    row(
        "",
        &[
            "Relu",
            "LeakyRelu",
            "Elu",
            "Selu",
            "Sigmoid",
            "Tanh",
            "Softplus",
            "Softsign",
            "HardSigmoid",
            "HardSwish",
            "ThresholdedRelu",
            "ParametricSoftplus",
            "ScaledTanh",
            "Affine",
            "Gelu",
            "Shrink",
            "ScatterND",
            "TensorScatter",
        ],
        &[],
        FIRST,
        &[],
    ),
    row("*", &["Trilu"], &[], FIRST, &[1]),
    row("com.microsoft", &["QuickGelu", "Gelu", "MoE", "QMoE"], &[], FIRST, &[]),
    row("com.microsoft", &["GroupQueryAttention"], &[], &[(3, 1), (4, 2)], &[6]),
    row("com.microsoft", &["SparseAttention"], &[], &[(3, 1), (4, 2)], &[7]),
    row("com.microsoft", &["Attention"], &[], &[(4, 1)], &[6]),
    row("com.microsoft", &["DecoderMaskedSelfAttention"], &[], &[(4, 1)], &[6]),
    row("com.microsoft", &["DecoderMaskedMultiHeadAttention"], &[], &[(5, 1), (6, 2)], &[7]),
    row("com.microsoft", &["MultiHeadAttention"], &[], &[], &[8]),
    row("com.microsoft", &["QAttention"], &[], &[], &[3, 4, 6, 7]),
    row("com.microsoft", &["RelativePositionBias"], &[], &[], &[1, 2]),
    row("com.microsoft", &["BiasDropout", "BitmaskBiasDropout"], &[], &[], &[3, 4]),
    row("com.microsoft", &["DynamicSlice"], &[], &[], &[1, 2, 3]),
    row("", &["Expand", "Tile", "Split", "TopK", "CumSum", "Upsample"], &[], &[], &[1]),
    row("", &["Slice"], &[], &[], &[1, 2, 3, 4]),
    row("", &["Pad", "Resize"], &[], &[], &[1, 2, 3]),
    row("", &["Range"], &[], &[], &[0, 1, 2]),
    row("", &["ConstantOfShape", "If", "Scan", "MemcpyFromHost"], &[], &[], &[0]),
    row("", &["Loop"], &[], &[], &[0, 1]),
    row("", &["OneHot", "Dropout"], &[], &[], &[1, 2]),
    row("", &["NonMaxSuppression"], &[], &[], &[2, 3, 4]),
    row("", &["MatMulInteger"], &[], &[], &[2, 3]),
    row("", &["LSTM", "GRU", "RNN"], &[], &[], &[4]),
    row("", &["SequenceAt", "SequenceErase"], &[], &[], &[1]),
    row("", &["SequenceInsert"], &[], &[], &[2]),
    row(
        "",
        &[
            "ReduceSum",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceSumSquare",
        ],
        &[],
        &[],
        &[1],
    ),
    host_output(&["Shape", "Size", "SequenceLength"], HostOutputs::Pageable),
    host_output(&["MemcpyToHost"], HostOutputs::Pinned(&[0])),
    host_output(&["RemovePadding"], HostOutputs::Pinned(&[3])),
    host_output(&["BeamSearch", "GreedySearch", "Sampling"], HostOutputs::Pinned(&[0, 1])),
];

struct KernelRange {
    since: i64,
    element_types: Vec<String>,
}

static KERNELS: LazyLock<Operators<Vec<KernelRange>>> = LazyLock::new(|| {
    let mut kernels = BTreeMap::<(&'static str, &'static str), Vec<KernelRange>>::new();
    for line in include_str!("cuda_kernels.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        let (Some(domain), Some(operator), Some(since)) = (words.next(), words.next(), words.next()) else { continue };
        let domain = if domain == "ai.onnx" { "" } else { domain };
        let element_types = words.nth(1).unwrap_or("*").split(',').map(str::to_owned).collect();
        let since = since.parse().unwrap_or(1);
        kernels.entry((domain, operator)).or_default().push(KernelRange { since, element_types });
    }
    Operators::of(kernels.into_iter().map(|((domain, operator), ranges)| (domain, operator, ranges)))
});

/// Whether the CUDA provider has a kernel for an operator of this opset and element type.
///
/// `element` is the type of the argument that the kernel is instantiated for; unknown passes.
pub(crate) fn has_cuda_kernel(domain: &str, operator: &str, opset: i64, element: Option<DataType>) -> bool {
    let Some(ranges) = KERNELS.get(domain, operator) else { return false };
    let Some(since) = ranges.iter().map(|range| range.since).filter(|&since| since <= opset).max() else {
        return false;
    };
    ranges.iter().filter(|range| range.since == since).any(|range| {
        range.element_types.iter().any(|name| name == "*" || element.is_none_or(|element| element.name() == name))
    })
}

/// The position of the input whose type names the CUDA kernel.
pub(crate) fn typed_input(operator: &str) -> usize {
    match operator {
        "Where" | "Slice" | "GatherND" => 1,
        _ => 0,
    }
}
