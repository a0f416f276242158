//! Text in: a graph with fixed shapes. Text out: the scratch of every CUDA node.

mod choice;

use onnxfit_graph::Model;
use onnxfit_onnx::text;

use super::*;
use crate::lower::lower;
use crate::program::{NodeProvider, Program};
use crate::sizes::RunSizes;

/// The scratch of every node of a graph on a card.
fn scratch_on(graph: &str, compute_capability: Option<(u32, u32)>) -> String {
    let model = Model::from_proto(&text::parse(graph).unwrap()).unwrap();
    let mut program: Program = lower(&model);
    let inference = onnxfit_shape::infer(&model, &onnxfit_shape::Bindings::default());
    let sizes = sizes(&model, &inference);
    for node in &mut program.nodes {
        node.provider = NodeProvider::Cuda;
    }
    let weights = crate::weights::WeightIndex::of(&program);
    let lines = program.nodes.iter().map(|node| {
        let call = Call {
            node,
            sizes: &sizes,
            n_threads: 1,
            program: &program,
            weights: &weights,
            compute_capability,
            bound: Bound::Expected,
            release: crate::releases::NEWEST_MEASURED,
        };
        format!("{}: {}\n", node.op_type, described(&call))
    });
    lines.collect()
}

fn sizes(model: &Model, inference: &onnxfit_shape::Inference) -> RunSizes {
    let tensor = |id| {
        let fact = inference.graph.get(id)?;
        Some(crate::sizes::TensorSize { element: fact.element_type?, dims: fact.concrete()? })
    };
    RunSizes { tensors: model.graph.values().map(|(id, _)| tensor(id)).collect(), ..RunSizes::default() }
}

fn described(call: &Call<'_>) -> String {
    let Some(pieces) = rule_of(call.node).and_then(|rule| rule(call)) else {
        return if rule_of(call.node).is_some() || needs_no_scratch(call.node) {
            "none".to_owned()
        } else {
            "not modelled".to_owned()
        };
    };
    let scratch: Vec<String> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Scratch { band, .. } if band.high == Bytes::ZERO => None,
            Piece::Scratch { what, band } if band.low == band.high => Some(format!("{what} {}", band.low.0)),
            Piece::Scratch { what, band } => {
                Some(format!("{what} {}..{}..{}", band.low.0, band.expected.0, band.high.0))
            }
            _ => None,
        })
        .collect();
    if scratch.is_empty() { "none".to_owned() } else { scratch.join(", ") }
}

fn scratch(graph: &str) -> String {
    scratch_on(graph, Some((7, 5)))
}

#[test]
fn normalizations_hold_statistics() {
    expect_test::expect![[r#"
        BatchNormalization: scale as float 256, bias as float 256, mean as float 256, variance as float 256
        BatchNormalization: none
        InstanceNormalization: mean 512, variance 512, unused scale 512, unused bias 512
        InstanceNormalization: mean 512, variance 512, unused scale 512, unused bias 512
    "#]]
    .assert_eq(&scratch(
        "g (float16[2, 64, 8, 8] x, float16[64] s, float[2, 64, 8, 8] f, float[64] t) => (float16[2, 64, 8, 8] y) {
            y = BatchNormalization (x, s, s, s, s)
            a = BatchNormalization (f, t, t, t, t)
            b = InstanceNormalization (x, s, s)
            c = InstanceNormalization (f, t, t)
        }",
    ));
}

#[test]
fn reductions_of_trailing_axes_hold_partial_sums_and_others_ask_cudnn() {
    expect_test::expect![[r#"
        ReduceMean: partial sums 2575
        ReduceSum: none
        ReduceSum: cuDNN reduction 0..131072..2097152
        ReduceSumSquare: squares 2097152, partial sums 2575
        ReduceLogSumExp: cuDNN reduction 0..512..2097152, exponentials 2097152, logarithms 512
        ReduceSum: none
        ReduceMax: input as double 1024, cuDNN reduction 0..64..1024, output as double 64
        ArgMax: input as float 512, cuDNN reduction 0..64..512, indices 64, extreme values 64
        ArgMax: partial results 0..4162..33298
    "#]]
    .assert_eq(&scratch(
        "g (float[8, 16, 4096] x, int64[8, 16] i, float16[8, 16] h) => (float[8, 16] y)
        <int64[1] last = {-1}, int64[1] first = {0}, int64[1] middle = {1}> {
            y = ReduceMean <keepdims = 0> (x, last)
            a = ReduceSum <keepdims = 0> (x, first)
            b = ReduceSum <keepdims = 0> (x, middle)
            c = ReduceSumSquare <keepdims = 0> (x, last)
            d = ReduceLogSumExp <keepdims = 0> (x, last)
            e = ReduceSum <keepdims = 0> (i, last)
            f = ReduceMax <keepdims = 0> (i, last)
            j = ArgMax <axis = 0> (h)
            k = ArgMax <axis = 2> (x)
        }",
    ));
}

#[test]
fn sorting_selecting_and_indexing() {
    expect_test::expect![[r#"
        TopK: none
        TopK: keys 80000, sorted keys 80000, positions 160000, sorted positions 160000, sort storage 240000..305536..1288576
        NonZero: block counts 1252, prefix sum 1..519..1038
        Compress: positions 16, prefix sum 1..519..1038
        GatherND: dimension sizes 16, slice offsets 56
        NonMaxSuppression: sort storage 8000..73536..1056576, indices 4000, sorted indices 4000, selected indices 4000, sorted scores 4000, sorted boxes 16000, overlap mask 128000, selected flags 1000, flagged indices 4000, prefix sum 1..519..1054, count 4, kept indices 4..20..40, kept boxes 24..120..240
    "#]].assert_eq(&scratch(
        "g (float[4, 20000] x, int64[7, 2] i, float[1, 1000, 4] boxes, float[1, 2, 1000] scores, bool[4] keep) => (float[4, 100] y)
        <int64[1] few = {100}, int64[1] many = {5000}, int64[1] limit = {10}> {
            y, z = TopK (x, few)
            a, b = TopK (x, many)
            c = NonZero (x)
            d = Compress <axis = 0> (x, keep)
            e = GatherND (x, i)
            f = NonMaxSuppression (boxes, scores, limit)
        }",
    ));
}

#[test]
fn resizing_maps_coordinates() {
    expect_test::expect![[r#"
        Resize: coordinate mapping 544
        Resize: coordinate mapping 720
        Resize: coordinate mapping 1440
        Resize: none
        Resize: bounds 960, coordinates out of bounds 480, weights 720
    "#]]
    .assert_eq(&scratch(
        "g (float[1, 3, 10, 20] x) => (float[1, 3, 20, 40] y)
        <int64[4] size = {1, 3, 20, 40}, int64[4] same = {1, 3, 10, 20}, float[4] none> {
            y = Resize <mode = \"nearest\"> (x, , , size)
            a = Resize <mode = \"linear\"> (x, , , size)
            b = Resize <mode = \"cubic\"> (x, , , size)
            c = Resize <mode = \"linear\"> (x, , , same)
            d = Resize <mode = \"linear\", antialias = 1> (x, , , size)
        }",
    ));
}

#[test]
fn parts_of_unequal_size_need_tables() {
    expect_test::expect![[r#"
        Concat: part sizes 16, part of every index 64, part ends 16, input pointers 16
        Concat: none
        Split: output pointers 16, part sizes 16, part ends 16, part of every index 64
        Split: none
    "#]]
    .assert_eq(&scratch(
        "g (float[2, 3] x, float[2, 5] z) => (float[2, 8] y) <int64[2] parts = {3, 5}> {
            y = Concat <axis = 1> (x, z)
            a = Concat <axis = 1> (x, x)
            b, c = Split <axis = 1> (y, parts)
            d, e = Split <axis = 1, num_outputs = 2> (y)
        }",
    ));
}

#[test]
fn products_need_pointers_padding_or_unpacked_weights() {
    expect_test::expect![[r#"
        MatMul: left pointers 24, right pointers 24, output pointers 24
        MatMul: none
        MatMulInteger: row sums 0..16..16, column sums 0..256..256, padded left side 128
        MatMulNBits: none
        MatMulNBits: unpacked weight 262144
    "#]]
    .assert_eq(&scratch(
        "g (float[2, 4, 8] x, float[4, 8] m, float[3, 8, 5] b, float[2, 8, 5] c, int8[4, 30] p, int8[30, 64] q,
           float16[1, 1, 256] one, float16[1, 16, 256] row) => (float[3, 4, 5] y)
        <int8 zero = {0}, int8 off = {3}, uint8[512, 8, 16] w, float16[4096] s> {
            y = MatMul (m, b)
            a = MatMul (x, c)
            d = MatMulInteger (p, q, zero, off)
            e = com.microsoft.MatMulNBits <K = 256, N = 512, bits = 4, block_size = 32> (one, w, s)
            f = com.microsoft.MatMulNBits <K = 256, N = 512, bits = 4, block_size = 32> (row, w, s)
        }",
    ));
}

const CONVOLUTIONS: &str = "g (float[1, 64, 32, 32] x, float16[1, 64, 32, 32] h) => (float[1, 64, 32, 32] y)
    <float[64, 64, 3, 3] w, float[64, 64, 1, 1] p, float16[64, 64, 3, 3] v, float16[64, 1, 3, 3] d> {
        y = Conv <pads = [1, 1, 1, 1]> (x, w)
        a = Conv (x, p)
        b = Conv <pads = [1, 1, 1, 1]> (h, v)
        c = Conv <pads = [1, 1, 1, 1], group = 64> (h, d)
    }";

#[test]
fn convolutions_are_bands_that_depend_on_the_card() {
    expect_test::expect![[r#"
        Conv: cuDNN plan 0..294912..1769472
        Conv: cuDNN plan 0..0..540672
        Conv: cuDNN plan 0..335872..884736
        Conv: cuDNN plan 0..0..526848
    "#]]
    .assert_eq(&scratch_on(CONVOLUTIONS, Some((7, 5))));
    expect_test::expect![[r#"
        Conv: cuDNN plan 0..671744..1769472
        Conv: cuDNN plan 0..540672..540672
        Conv: cuDNN plan 0..335872..884736
        Conv: cuDNN plan 0..0..526848
    "#]]
    .assert_eq(&scratch_on(CONVOLUTIONS, Some((8, 6))));
}

#[test]
fn recurrent_nodes_reorganize_weights_that_are_fed() {
    expect_test::expect![[r#"
        LSTM: sequence lengths 8, cuDNN workspace 0..5120..16000, cuDNN reserve space 0..0..5120
        LSTM: sequence lengths 8, reorganized weights 6656, cuDNN workspace 0..5120..16000, cuDNN reserve space 0..0..5120
        LSTM: sequence lengths 8, cuDNN workspace 0..10240..31360, cuDNN reserve space 0..0..10240, reordered output 2560
    "#]].assert_eq(&scratch(
        "g (float[10, 2, 8] x, float[1, 64, 8] fw) => (float[10, 1, 2, 16] y)
        <float[1, 64, 8] w, float[1, 64, 16] r, float[2, 64, 8] w2, float[2, 64, 16] r2> {
            y, h, c = LSTM <hidden_size = 16> (x, w, r)
            a, b = LSTM <hidden_size = 16> (x, fw, r)
            d, e = LSTM <hidden_size = 16, direction = \"bidirectional\"> (x, w2, r2)
        }",
    ));
}

#[test]
fn pools_of_bytes_and_deformable_convolutions() {
    expect_test::expect![[r#"
        MaxPool: input as float 1024, output as float 256
        MaxPool: none
        DeformConv: unrolled patches 47185920
    "#]].assert_eq(&scratch(
        "g (int8[1, 4, 8, 8] x, float16[1, 4, 8, 8] h, float[40, 16, 64, 64] f, float[40, 18, 64, 64] o) => (int8[1, 4, 4, 4] y)
        <float[16, 16, 3, 3] w> {
            y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
            a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)
            b = DeformConv <pads = [1, 1, 1, 1]> (f, w, o)
        }",
    ));
}

#[test]
fn an_operator_of_neither_list_is_not_modelled() {
    expect_test::expect![[r#"
        Einsum: not modelled
        Relu: none
        BeamSearch: not modelled
    "#]]
    .assert_eq(&scratch(
        "g (float[2, 3] x, float[3, 4] z) => (float[2, 4] y) {
            y = Einsum <equation = \"ij,jk->ik\"> (x, z)
            a = Relu (y)
            b = com.microsoft.BeamSearch (y)
        }",
    ));
}
