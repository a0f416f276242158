//! Numbers that the half type cannot hold, and where casts go because of them.

use std::collections::BTreeMap;

use expect_test::expect;
use onnxfit_graph::Model;
use onnxfit_onnx::{WeightStore, text};

use super::{check, options, outcome, shown};
use crate::half::{HalfOptions, HalfType, ValueRange, to_half};

#[test]
fn a_large_weight_that_both_sides_read_is_kept_once_and_a_small_one_twice() {
    check(
        "g (float[64,64] x) => (float[64,64] y) <float[64,64] w, float[2] s = {1, 2}, float[2] two = {2, 2}> {
            a = MatMul(x, w)
            p = Pow(a, w)
            e = Pow(s, two)
            f = ReduceMax<keepdims=0>(e)
            g = ReduceMax<keepdims=0>(s)
            q = Clip(p, g, f)
            b = MatMul(q, w)
            y = Mul(b, g)
        }",
        expect![[r#"
            g (float[64, 64] x) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float[2] s = {1.0, 2.0}, float[2] two = {2.0, 2.0}, float16[64, 64] y_float16, float16[64, 64] x_float16, float[] a_float, float[] w_float, float16[] s_float16, float[] g_float, float16[] q_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               [w_float] w_float = Cast <to: int = 1> (w)
               [s_float16] s_float16 = Constant <value: tensor = float16[2] {15360, 16384}> ()
               a = MatMul (x_float16, w)
               [a_float] a_float = Cast <to: int = 1> (a)
               p = Pow (a_float, w_float)
               e = Pow (s, two)
               f = ReduceMax <keepdims: int = 0> (e)
               g = ReduceMax <keepdims: int = 0> (s_float16)
               [g_float] g_float = Cast <to: int = 1> (g)
               q = Clip (p, g_float, f)
               [q_float16] q_float16 = Cast <to: int = 10> (q)
               b = MatMul (q_float16, w)
               y_float16 = Mul (b, g)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # p: may overflow, and was not measured
            # e: may overflow, and was not measured
            # f: may overflow, and was not measured
            # q: may overflow, and was not measured
        "#]],
    );
}

#[test]
fn a_mask_is_as_negative_as_the_type_allows() {
    check(
        "g (float[8,64,64] x, int64[1,64] m) => (float[8,64,64] y) <float big = {-3.4e38}, float one = {1}, bool[64,64] k> {
            f = Cast<to=1>(m)
            i = Sub(one, f)
            n = Mul(i, big)
            a = Add(x, n)
            b = Where(k, a, big)
            y = Softmax(b)
        }",
        expect![[r#"
            g (float[8, 64, 64] x, int64[1, 64] m) => (float[8, 64, 64] y)
               <float16 big = {64511}, float16 one = {15360}, bool[64, 64] k, float16[8, 64, 64] y_float16, float16[] f_float16, float16[8, 64, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               f = Cast <to: int = 1> (m)
               [f_float16] f_float16 = Cast <to: int = 10> (f)
               i = Sub (one, f_float16)
               n = Mul (i, big)
               a = Add (x_float16, n)
               b = Where (k, a, big)
               y_float16 = Softmax (b)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # f: computes an index or a size
        "#]],
    );
}

#[test]
fn infinity_stays_infinity() {
    check(
        "g (float[64,64] x, bool[64,64] k) => (float[64,64] y) <float big = {-inf}> { a = Where(k, x, big) y = Softmax(a) }",
        expect![[r#"
            g (float[64, 64] x, bool[64, 64] k) => (float[64, 64] y)
               <float16 big = {64512}, float16[64, 64] y_float16, float16[64, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = Where (k, x_float16, big)
               y_float16 = Softmax (a)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn bounds_past_the_range_are_drawn_in_and_tiny_ones_raised() {
    check(
        "g (float[64,64] x) => (float[64,64] y) <float low = {1e-12}, float high = {3.4e38}> { y = Clip(x, low, high) }",
        expect![[r#"
            g (float[64, 64] x) => (float[64, 64] y)
               <float16 low = {1}, float16 high = {31743}, float16[64, 64] y_float16, float16[64, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_float16 = Clip (x_float16, low, high)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_guard_against_zero_keeps_its_sum_and_root_in_float() {
    check(
        "g (float[64,1] x, float[64,512] z) => (float[64,512] y) <float tiny = {1e-12}> {
            a = Add(x, tiny)
            b = Sqrt(a)
            y = Mul(z, b)
        }",
        expect![[r#"
            g (float[64, 1] x, float[64, 512] z) => (float[64, 512] y)
               <float tiny = {1e-12}, float16[64, 512] y_float16, float16[64, 512] z_float16, float16[] b_float16>
            {
               [z_float16] z_float16 = Cast <to: int = 10> (z)
               a = Add (x, tiny)
               b = Sqrt (a)
               [b_float16] b_float16 = Cast <to: int = 10> (b)
               y_float16 = Mul (z_float16, b_float16)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # a: its constant 1e-12 has no half-width equal
            # b: its constant 5.9604645e-8 has no half-width equal
        "#]],
    );
}

#[test]
fn a_written_out_normalization_keeps_its_statistics_in_float() {
    check(
        "g (float[8,64,512] x) => (float[8,64,512] y) <int64[1] last = {-1}, float two = {2}, float eps = {1e-5}, float[512,512] w> {
            h = MatMul(x, w)
            m = ReduceMean(h, last)
            d = Sub(h, m)
            p = Pow(d, two)
            v = ReduceMean(p, last)
            e = Add(v, eps)
            s = Sqrt(e)
            n = Div(d, s)
            y = MatMul(n, w)
        }",
        expect![[r#"
            g (float[8, 64, 512] x) => (float[8, 64, 512] y)
               <int64[1] last = {-1}, float two = {2.0}, float eps = {1e-5}, float16[512, 512] w = ["location": "absent.data.float16", "offset": "0", "length": "524288"], float16[8, 64, 512] y_float16, float16[8, 64, 512] x_float16, float[] d_float, float16[] s_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               h = MatMul (x_float16, w)
               m = ReduceMean (h, last)
               d = Sub (h, m)
               [d_float] d_float = Cast <to: int = 1> (d)
               p = Pow (d_float, two)
               v = ReduceMean (p, last)
               e = Add (v, eps)
               s = Sqrt (e)
               [s_float16] s_float16 = Cast <to: int = 10> (s)
               n = Div (d, s_float16)
               y_float16 = MatMul (n, w)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # p: may overflow, and was not measured
            # v: may overflow, and was not measured
            # e: may overflow, and was not measured
            # s: may overflow, and was not measured
        "#]],
    );
}

#[test]
fn sums_and_norms_are_cautious_unless_measured() {
    let model = "g (float[64,512] x) => (float[64,1] y, float[64,1] z) <int64[1] last = {-1}, float[512,512] w> {
        h = MatMul(x, w)
        y = ReduceSum(h, last)
        z = ReduceL2(h, last)
    }";
    check(
        model,
        expect![[r#"
            g (float[64, 512] x) => (float[64, 1] y, float[64, 1] z)
               <int64[1] last = {-1}, float16[512, 512] w = ["location": "absent.data.float16", "offset": "0", "length": "524288"], float16[64, 512] x_float16, float[] h_float>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               h = MatMul (x_float16, w)
               [h_float] h_float = Cast <to: int = 1> (h)
               y = ReduceSum (h_float, last)
               z = ReduceL2 (h_float, last)
            }
            # y: may overflow, and was not measured
            # z: may overflow, and was not measured
        "#]],
    );
    let fine = ValueRange { smallest: -9.0, largest: 9.0, share_vanishing: 0.0 };
    let ranges = BTreeMap::from(["h", "y", "z"].map(|name| (name.to_owned(), fine)));
    let measured = outcome(model, &HalfOptions { ranges: Some(ranges), ..options() });
    expect![[r#"
        g (float[64, 512] x) => (float[64, 1] y, float[64, 1] z)
           <int64[1] last = {-1}, float16[512, 512] w = ["location": "absent.data.float16", "offset": "0", "length": "524288"], float16[64, 1] y_float16, float16[64, 1] z_float16, float16[64, 512] x_float16>
        {
           [x_float16] x_float16 = Cast <to: int = 10> (x)
           h = MatMul (x_float16, w)
           y_float16 = ReduceSum (h, last)
           [y] y = Cast <to: int = 1> (y_float16)
           z_float16 = ReduceL2 (h, last)
           [z] z = Cast <to: int = 1> (z_float16)
        }
    "#]].assert_eq(&shown(&measured));
}

#[test]
fn what_was_measured_to_overflow_stays_and_so_does_who_reads_it() {
    let model =
        "g (float[64,64] x) => (float[64,64] y) <float[64,64] w> { a = MatMul(x, w) b = MatMul(a, w) y = Tanh(b) }";
    let ranges = BTreeMap::from([
        ("a".to_owned(), ValueRange { smallest: -1.0, largest: 1e5, share_vanishing: 0.0 }),
        ("b".to_owned(), ValueRange { smallest: -1.0, largest: 1.0, share_vanishing: 0.0 }),
    ]);
    let outcome = outcome(model, &HalfOptions { ranges: Some(ranges), ..options() });
    expect![[r#"
        g (float[64, 64] x) => (float[64, 64] y)
           <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float[] w_float>
        {
           [w_float] w_float = Cast <to: int = 1> (w)
           a = MatMul (x, w_float)
           b = MatMul (a, w_float)
           y = Tanh (b)
        }
        # a: reaches 1e5
        # b: reaches 1e5
        # y: between others that stay float
    "#]]
    .assert_eq(&shown(&outcome));
}

#[test]
fn sizes_and_phases_are_computed_in_float() {
    check(
        "g (float[8,64] x, int64[64] p) => (float[a,b] y, float[64] z) <float half = {0.5}, float freq = {0.01}, int64[1] zero = {0}> {
            s = Shape(x)
            f = Cast<to=1>(s)
            h = Mul(f, half)
            r = Floor(h)
            i = Cast<to=7>(r)
            y = Tile(x, i)
            q = Cast<to=1>(p)
            a = Mul(q, freq)
            z = Sin(a)
        }",
        expect![[r#"
            g (float[8, 64] x, int64[64] p) => (float[a, b] y, float[64] z)
               <float half = {0.5}, float freq = {0.01}, int64[1] zero = {0}, float16[a, b] y_float16, float16[8, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               s = Shape (x_float16)
               f = Cast <to: int = 1> (s)
               h = Mul (f, half)
               r = Floor (h)
               i = Cast <to: int = 7> (r)
               y_float16 = Tile (x_float16, i)
               [y] y = Cast <to: int = 1> (y_float16)
               q = Cast <to: int = 1> (p)
               a = Mul (q, freq)
               z = Sin (a)
            }
            # f: computes an index or a size
            # h: computes an index or a size
            # r: computes an index or a size
            # i: computes an index or a size
            # q: computes an index or a size
            # a: computes the argument of a periodic function
            # z: computes the argument of a periodic function
        "#]],
    );
}

#[test]
fn a_quantized_operator_is_left_as_it_is() {
    check(
        "g (float[1,64] x) => (float[1,64] y) <int8[64,64] w, float s = {0.02}, int8 z = {0}, float[64] b> {
            q = QuantizeLinear(x, s, z)
            d = DequantizeLinear(q, s, z)
            v = DequantizeLinear(w, s, z)
            m = MatMul(d, v)
            n = QuantizeLinear(m, s, z)
            o = DequantizeLinear(n, s, z)
            y = Add(o, b)
        }",
        expect![[r#"
            g (float[1, 64] x) => (float[1, 64] y)
               <int8[64, 64] w, float s = {0.02}, int8 z = {0}, float[64] b>
            {
               q = QuantizeLinear (x, s, z)
               d = DequantizeLinear (q, s, z)
               v = DequantizeLinear (w, s, z)
               m = MatMul (d, v)
               n = QuantizeLinear (m, s, z)
               o = DequantizeLinear (n, s, z)
               y = Add (o, b)
            }
            # q: part of a quantized operator
            # d: part of a quantized operator
            # v: part of a quantized operator
            # m: part of a quantized operator
            # n: part of a quantized operator
            # o: part of a quantized operator
            # y: part of a quantized operator
        "#]],
    );
}

#[test]
fn one_cast_serves_all_readers_in_a_graph() {
    check(
        "g (float[64,64] x) => (float[64,64] y) <float[64,64] w, float two = {2}> {
            a = MatMul(x, w)
            p = Pow(a, two)
            q = Exp(a)
            r = Add(p, q)
            t = Tanh(r)
            b = MatMul(t, w)
            c = MatMul(t, w)
            y = Add(b, c)
        }",
        expect![[r#"
            g (float[64, 64] x) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float two = {2.0}, float16[64, 64] y_float16, float16[64, 64] x_float16, float[] a_float, float16[] t_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = MatMul (x_float16, w)
               [a_float] a_float = Cast <to: int = 1> (a)
               p = Pow (a_float, two)
               q = Exp (a_float)
               r = Add (p, q)
               t = Tanh (r)
               [t_float16] t_float16 = Cast <to: int = 10> (t)
               b = MatMul (t_float16, w)
               c = MatMul (t_float16, w)
               y_float16 = Add (b, c)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # p: may overflow, and was not measured
            # q: may overflow, and was not measured
            # r: may overflow, and was not measured
            # t: may overflow, and was not measured
        "#]],
    );
}

#[test]
fn the_weights_of_nodes_that_stay_are_half_unless_asked_otherwise() {
    let exact_nodes = ["b".to_owned()].into();
    let model = "g (float[64,64] x) => (float[64,64] y) <float[64,64] v, float[64,64] w> { a = MatMul(x, v) b = MatMul(a, w) y = MatMul(b, v) }";
    expect![[r#"
        g (float[64, 64] x) => (float[64, 64] y)
           <float16[64, 64] v = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float[64, 64] w, float16[64, 64] y_float16, float16[64, 64] x_float16, float[] a_float, float16[] b_float16>
        {
           [x_float16] x_float16 = Cast <to: int = 10> (x)
           a = MatMul (x_float16, v)
           [a_float] a_float = Cast <to: int = 1> (a)
           b = MatMul (a_float, w)
           [b_float16] b_float16 = Cast <to: int = 10> (b)
           y_float16 = MatMul (b_float16, v)
           [y] y = Cast <to: int = 1> (y_float16)
        }
        # b: asked for
    "#]].assert_eq(&shown(&outcome(model, &HalfOptions { exact_nodes, ..options() })));
    let keep_nodes = ["b".to_owned()].into();
    expect![[r#"
        g (float[64, 64] x) => (float[64, 64] y)
           <float16[64, 64] v = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] y_float16, float16[64, 64] x_float16, float[] a_float, float[] w_float, float16[] b_float16>
        {
           [x_float16] x_float16 = Cast <to: int = 10> (x)
           [w_float] w_float = Cast <to: int = 1> (w)
           a = MatMul (x_float16, v)
           [a_float] a_float = Cast <to: int = 1> (a)
           b = MatMul (a_float, w_float)
           [b_float16] b_float16 = Cast <to: int = 10> (b)
           y_float16 = MatMul (b_float16, v)
           [y] y = Cast <to: int = 1> (y_float16)
        }
        # b: asked for
    "#]].assert_eq(&shown(&outcome(model, &HalfOptions { keep_nodes, ..options() })));
}

#[test]
fn weights_that_half_precision_cannot_hold_stay() {
    let numbers =
        |scale: f32| (0..4096).map(|n| format!("{:e}", (n % 61 - 30) as f32 * scale)).collect::<Vec<_>>().join(", ");
    let stored = |scale: f32| {
        let numbers = numbers(scale);
        let model =
            format!("g (float[64,64] x) => (float[64,64] y) <float[64,64] w = {{{numbers}}}> {{ y = MatMul(x, w) }}");
        outcome(&model, &options()).report.n_float_tensors
    };
    assert_eq!([stored(1e-3), stored(1e-9), stored(3e3)], [0, 1, 1]);
}

#[test]
fn statistics_below_the_range_are_folded_into_scale_and_shift() {
    let model = "g (float[1,2,4] x) => (float[1,2,4] y) <float[2] s = {2, 3}, float[2] b = {1, 0}, float[2] m = {4, 5}, \
                 float[2] v = {1, 1e-9}> { y = BatchNormalization <epsilon: float = 1e-5> (x, s, b, m, v) }";
    expect![[r#"
        g (float[1, 2, 4] x) => (float[1, 2, 4] y)
           <float16[2] s_folded_0 = {16384, 25449}, float16[2] b_folded_0 = {50944, 60578}, float16[2] m_folded_0 = {0, 0}, float16[2] v_folded_0 = {15360, 15360}, float16[1, 2, 4] y_float16, float16[1, 2, 4] x_float16>
        {
           [x_float16] x_float16 = Cast <to: int = 10> (x)
           y_float16 = BatchNormalization <epsilon: float = 1e-5> (x_float16, s_folded_0, b_folded_0, m_folded_0, v_folded_0)
           [y] y = Cast <to: int = 1> (y_float16)
        }
    "#]].assert_eq(&shown(&outcome(model, &options())));
}

#[test]
fn bfloat16_needs_no_care_for_the_range_but_an_opset_that_has_it() {
    let options = HalfOptions::new(HalfType::Bfloat16);
    let model =
        "g (float[64,64] x) => (float[64,64] y) <float[64,64] w, float two = {2}> { a = MatMul(x, w) y = Pow(a, two) }";
    expect![[r#"
        g (float[64, 64] x) => (float[64, 64] y)
           <bfloat16[64, 64] w = ["location": "absent.data.bfloat16", "offset": "0", "length": "8192"], bfloat16 two = {16384}, bfloat16[64, 64] y_bfloat16, bfloat16[64, 64] x_bfloat16>
        {
           [x_bfloat16] x_bfloat16 = Cast <to: int = 16> (x)
           a = MatMul (x_bfloat16, w)
           y_bfloat16 = Pow (a, two)
           [y] y = Cast <to: int = 1> (y_bfloat16)
        }
    "#]].assert_eq(&shown(&outcome(model, &options)));
    let old = text::parse("<ir_version: 7, opset_import: [\"\": 12]> g (float[4] x) => (float[4] y) { y = Relu(x) }")
        .unwrap();
    let error = to_half(&Model::from_proto(&old).unwrap(), &WeightStore::new(""), &options).unwrap_err();
    expect!["operator set 12 has no casts to bfloat16"].assert_eq(&error.to_string());
}
