//! What becomes of weights, by who reads them, and what they are worth afterwards.

use expect_test::{Expect, expect};
use onnxfit_graph::Model;
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{WeightStore, text};

use super::compensate::{self, Hessian};
use super::pack::{Grid, pack, round_row};
use super::{WeightOnly, WeightOptions};
use crate::layer::Level;

/// A model whose initializers hold small sines.
fn model(text: &str) -> Model {
    let mut proto: ModelProto = text::parse(text).unwrap_or_else(|error| panic!("{error}"));
    for tensor in &mut proto.graph.as_mut().unwrap().initializer {
        let n = tensor.n_elements().unwrap();
        let numbers: Vec<f32> = (0..n).map(|at| (at as f32 * 0.7).sin() * 0.1).collect();
        *tensor = TensorProto::from_f32(tensor.name(), &tensor.dims, &numbers);
    }
    Model::from_proto(&proto).unwrap()
}

fn options(smallest: Level) -> WeightOptions {
    WeightOptions { smallest, ..WeightOptions::default() }
}

/// The nodes of the model with every weight at its smallest, and how its weights are kept.
fn check(text: &str, smallest: Level, expected: Expect) {
    let model = model(text);
    let store = WeightStore::new("");
    let only = WeightOnly::new(&model, &store, options(smallest));
    let choice = only.layers().iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    let proto = only.build(&choice).unwrap().model.to_proto();
    let printed = text::print(&proto);
    let body = printed.split_once("\n{\n").or_else(|| printed.split_once("   {\n")).map_or("", |(_, body)| body);
    let graph = proto.graph.unwrap();
    let tensors: String = graph
        .initializer
        .iter()
        .map(|tensor| format!("# {} {:?} {:?}\n", tensor.name(), tensor.element_type().unwrap(), tensor.dims))
        .collect();
    let lines: Vec<&str> = body.lines().map(str::trim).filter(|line| *line != "}").collect();
    expected.assert_eq(&format!("{}\n{tensors}", lines.join("\n")));
}

#[test]
fn a_product_keeps_its_weight_in_blocks() {
    check(
        "g (float[2,40] x) => (float[2,24] y) <float[40,24] w> { y = MatMul(x, w) }",
        Level::Int4,
        expect![[r#"
        [y] y = com.microsoft.MatMulNBits <K: int = 40, N: int = 24, bits: int = 4, block_size: int = 32> (x, w_int4, w_scale, w_zero)
        # w_int4 Uint8 [24, 2, 16]
        # w_scale Float [48]
        # w_zero Uint8 [24]
    "#]],
    );
}

#[test]
fn a_layer_with_a_bias_adds_it_behind_the_product_and_may_have_its_weight_turned() {
    check(
        "g (float[2,40] x) => (float[2,24] y) <float[24,40] w, float[24] b> { y = Gemm <transB: int = 1> (x, w, b) }",
        Level::Int8,
        expect![[r#"
            [y_product] y_product = com.microsoft.MatMulNBits <K: int = 40, N: int = 24, bits: int = 8, block_size: int = 64> (x, w_int8, w_scale)
            [y] y = Add (y_product, b)
            # b Float [24]
            # w_int8 Uint8 [24, 1, 64]
            # w_scale Float [24]
        "#]],
    );
}

#[test]
fn a_table_is_looked_up_before_it_is_scaled() {
    check(
        "g (int64[2] i) => (float[2,32] y) <float[64,32] t> { y = Gather(t, i) }",
        Level::Int4,
        expect![[r#"
        [y_found] y_found = Gather (t_int8, i)
        [y_float] y_found_float = Cast <to: int = 1> (y_found)
        [y_scales] y_scales = Gather (t_scale, i)
        [y] y = Mul (y_found_float, y_scales)
        # t_int8 Int8 [64, 32]
        # t_scale Float [64, 1]
    "#]],
    );
}

#[test]
fn who_wants_a_weight_whole_reads_it_dequantized_under_its_old_name() {
    check(
        "g (float[1,16,4] x) => (float[1,16,2] y) <float[16,16,3] w> { y = Conv(x, w) }",
        Level::Int4,
        expect![[r#"
            [w] w = DequantizeLinear <axis: int = 0> (w_int8, w_scale, w_zero_point)
            y = Conv (x, w)
            # w_int8 Int8 [16, 16, 3]
            # w_scale Float [16]
            # w_zero_point Int8 [16]
        "#]],
    );
}

#[test]
fn a_weight_that_a_body_captures_is_made_around_it() {
    check(
        "g (bool c, float[2,32] x) => (float[2,32] y) <float[32,32] w> { y = If (c) <then_branch = t () => (float[2,32] a) \
         { a = MatMul(x, w) }, else_branch = e () => (float[2,32] b) { b = Relu(x) }> }",
        Level::Int4,
        expect![[r#"
            [w] w = DequantizeLinear <axis: int = 1> (w_int8, w_scale, w_zero_point)
            y = If (c) <then_branch: graph = t () => (float[2, 32] a) {
            a = MatMul (x, w)
            }, else_branch: graph = e () => (float[2, 32] b) {
            b = Relu (x)
            }>
            # w_int8 Int8 [32, 32]
            # w_scale Float [32]
            # w_zero_point Int8 [32]
        "#]],
    );
}

#[test]
fn constants_in_nodes_are_weights_too() {
    let numbers = (0..1024).map(|at| format!("{:e}", (at % 7) as f32)).collect::<Vec<_>>().join(", ");
    check(
        &format!(
            "g (float[2,32] x) => (float[2,32] y) {{ w = Constant <value: tensor = float[32,32] {{{numbers}}}> () y = MatMul(x, w) }}"
        ),
        Level::Int8,
        expect![[r#"
            [y] y = com.microsoft.MatMulNBits <K: int = 32, N: int = 32, bits: int = 8, block_size: int = 32> (x, w_int8, w_scale)
            # w_int8 Uint8 [32, 1, 32]
            # w_scale Float [32]
        "#]],
    );
}

#[test]
fn four_bits_are_packed_as_the_kernel_reads_them() {
    let grid = Grid { bits: 4, block: 16 };
    let row: Vec<f32> = (0..20).map(|at| at as f32 - 4.0).collect();
    let packed = pack(vec![round_row(&row, grid)], grid);
    // -4 to 11 are the integers 0 to 15; 12 to 15 need a second block, from zero on.
    assert_eq!((packed.n_blocks, &packed.scales[..]), (2, &[1.0, 1.0][..]));
    assert_eq!(packed.zero_points, [4]);
    assert_eq!(packed.integers[..8], [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    assert_eq!(packed.integers[8..10], [0xdc, 0xfe]);
}

/// The squared error of x·w over inputs that go together.
fn loss(inputs: &[f32], n: usize, wanted: &[f32], have: &[f32]) -> f64 {
    let dot = |input: &[f32]| -> f64 {
        input.iter().zip(wanted.iter().zip(have)).map(|(x, (a, b))| f64::from(*x) * f64::from(a - b)).sum()
    };
    inputs.chunks_exact(n).map(|input| dot(input).powi(2)).sum()
}

#[test]
fn compensated_rounding_loses_less_than_rounding_to_the_nearest() {
    let (n, grid) = (64, Grid { bits: 4, block: 32 });
    // Inputs that lean on each other: a smooth signal and a little of their own.
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut inputs = Vec::new();
    for _ in 0..256 {
        let (a, b) = (noise(), noise());
        inputs.extend((0..n).map(|at| a * (at as f32 / 9.0).sin() + b + 0.1 * noise()));
    }
    let mut hessian = Hessian::new(n);
    inputs.chunks(50 * n).for_each(|piece| hessian.add(piece));
    assert_eq!(hessian.n_rows(), 256);
    let factor = hessian.factor().expect("a damped matrix has a factor");
    let row: Vec<f32> = (0..n).map(|_| noise()).collect();
    let numbers = |(integers, params): (Vec<u8>, Vec<crate::Params>)| -> Vec<f32> {
        integers.iter().enumerate().map(|(at, n)| params[at / grid.block].dequantize(i32::from(*n))).collect()
    };
    let nearest = numbers(round_row(&row, grid));
    let compensated = numbers(compensate::round_row(&mut row.clone(), &factor, grid));
    let [before, after] = [nearest, compensated].map(|have| loss(&inputs, n, &row, &have));
    assert!(after < before / 4.0, "{after} against {before}");
}

#[test]
fn a_matrix_and_its_factor_go_together() {
    let n = 5;
    let inputs: Vec<f32> = (0..60).map(|at| ((at * at) as f32 * 0.37).sin()).collect();
    let mut hessian = Hessian::new(n);
    hessian.add(&inputs);
    let inverse_times = |vector: &[f64]| hessian.factor().unwrap().inverse_times(vector);
    // H^-1 (H e) = e, the damping apart.
    let h = |row: usize, column: usize| -> f64 {
        inputs.chunks_exact(n).map(|x| f64::from(x[row]) * f64::from(x[column])).sum()
    };
    let mean = (0..n).map(|at| h(at, at)).sum::<f64>() / n as f64;
    for unit in 0..n {
        let damped = |row| h(row, unit) + if row == unit { 0.01 * mean } else { 0.0 };
        let column: Vec<f64> = (0..n).map(damped).collect();
        for (at, number) in inverse_times(&column).into_iter().enumerate() {
            assert!((number - f64::from(u8::from(at == unit))).abs() < 1e-3, "{unit} {at} {number}");
        }
    }
}
