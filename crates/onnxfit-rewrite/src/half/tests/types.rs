//! Operators, bodies and constants that take or name a type.

use expect_test::expect;

use super::{check, options, outcome, shown};
use crate::half::HalfOptions;

#[test]
fn inputs_and_outputs_stay_float_and_keep_their_names() {
    check(
        "g (float[2,4] x) => (float[2,4] y) { a = Relu(x) y = Tanh(a) }",
        expect![[r#"
            g (float[2, 4] x) => (float[2, 4] y)
               <float16[2, 4] y_float16, float16[2, 4] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = Relu (x_float16)
               y_float16 = Tanh (a)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn inputs_and_outputs_change_when_asked() {
    let options = HalfOptions { keep_io: false, ..options() };
    let outcome = outcome("g (float[2,4] x) => (float[2,4] y) { a = Relu(x) y = Tanh(a) }", &options);
    expect![[r#"
        g (float16[2, 4] x) => (float16[2, 4] y) {
           a = Relu (x)
           y = Tanh (a)
        }
    "#]]
    .assert_eq(&shown(&outcome));
}

#[test]
fn a_cast_to_float_becomes_a_cast_to_half() {
    check(
        "g (int64[2,1000] x) => (float[2,1000] y) { a = Cast<to=1>(x) y = Relu(a) }",
        expect![[r#"
            g (int64[2, 1000] x) => (float[2, 1000] y)
               <float16[2, 1000] y_float16>
            {
               a = Cast <to: int = 10> (x)
               y_float16 = Relu (a)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_cast_between_the_two_types_disappears() {
    check(
        "g (float16[64,64] x) => (float[64,64] y) <float[64,64] w> { a = Cast<to=1>(x) b = MatMul(a, w) y = Add(b, a) }",
        expect![[r#"
            g (float16[64, 64] x) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] y_float16>
            {
               b = MatMul (x, w)
               y_float16 = Add (b, x)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_resize_keeps_float_scales() {
    check(
        "g (float[1,3,8,8] x) => (float[1,3,16,16] y) <float[4] s = {1, 1, 2, 2}> { y = Resize(x, , s) }",
        expect![[r#"
            g (float[1, 3, 8, 8] x) => (float[1, 3, 16, 16] y)
               <float[4] s = {1.0, 1.0, 2.0, 2.0}, float16[1, 3, 16, 16] y_float16, float16[1, 3, 8, 8] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_float16 = Resize (x_float16, "", s)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn an_upsample_keeps_float_scales() {
    check(
        "<ir_version: 8, opset_import: [\"\": 9]>
         g (float[1,3,8,8] x) => (float[1,3,16,16] y) <float[4] s = {1, 1, 2, 2}> { y = Upsample(x, s) }",
        expect![[r#"
            g (float[1, 3, 8, 8] x) => (float[1, 3, 16, 16] y)
               <float[4] s = {1.0, 1.0, 2.0, 2.0}, float16[1, 3, 16, 16] y_float16, float16[1, 3, 8, 8] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_float16 = Upsample (x_float16, s)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_range_stays_float() {
    check(
        "g (float[4,2000] x, float n) => (float[4,2000] y) <float zero = {0}, float one = {1}> {
            r = Range(zero, n, one)
            y = Add(x, r)
        }",
        expect![[r#"
            g (float[4, 2000] x, float n) => (float[4, 2000] y)
               <float zero = {0.0}, float one = {1.0}, float16[4, 2000] y_float16, float16[4, 2000] x_float16, float16[] r_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               r = Range (zero, n, one)
               [r_float16] r_float16 = Cast <to: int = 10> (r)
               y_float16 = Add (x_float16, r_float16)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # r: not defined for the half type in this opset
        "#]],
    );
}

#[test]
fn boxes_and_scores_of_a_selection_are_float_where_they_must() {
    check(
        "g (float[1,3,9000,4] x, float[1,80,9000] s) => (int64[n,3] y) <float t = {0.5}, int64[1] one = {1}> {
            b = ReduceMax(x, one)
            q = Squeeze(b, one)
            p = Sigmoid(s)
            y = NonMaxSuppression(q, p, , t)
        }",
        expect![[r#"
            g (float[1, 3, 9000, 4] x, float[1, 80, 9000] s) => (int64[n, 3] y)
               <float t = {0.5}, int64[1] one = {1}>
            {
               b = ReduceMax (x, one)
               q = Squeeze (b, one)
               p = Sigmoid (s)
               y = NonMaxSuppression (q, p, "", t)
            }
            # b: between others that stay float
            # q: between others that stay float
            # p: between others that stay float
            # y: takes only float
        "#]],
    );
}

#[test]
fn random_numbers_are_made_as_float() {
    check(
        "g (float[64,64] x) => (float[64,64] y) { r = RandomNormalLike(x) y = Add(x, r) }",
        expect![[r#"
            g (float[64, 64] x) => (float[64, 64] y) {
               r = RandomNormalLike (x)
               y = Add (x, r)
            }
            # r: an attribute names its type
            # y: between others that stay float
        "#]],
    );
}

#[test]
fn an_unknown_operator_gets_and_gives_float() {
    check(
        "<ir_version: 8, opset_import: [\"\": 17, \"com.acme\": 1]>
         g (float[64,64] x) => (float[64,64] y) <float[64,64] w> {
            a = MatMul(x, w)
            float_b = com.acme.Foo(a)
            y = MatMul(float_b, w)
        }",
        expect![[r#"
            g (float[64, 64] x) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] y_float16, float16[64, 64] x_float16, float[] a_float>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = MatMul (x_float16, w)
               [a_float] a_float = Cast <to: int = 1> (a)
               float_b = com.acme.Foo (a_float)
               y_float16 = MatMul (float_b, w)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # float_b: unknown operator
        "#]],
    );
}

#[test]
fn an_operator_of_the_nchwc_domain_stays_float() {
    check(
        "<ir_version: 8, opset_import: [\"\": 17, \"com.microsoft.nchwc\": 1]>
         g (float[1,8,64,64] x) => (float[1,8,64,64] y) <float[8,8,3,3] w> {
            a = com.microsoft.nchwc.Conv(x, w)
            y = Relu(a)
        }",
        expect![[r#"
            g (float[1, 8, 64, 64] x) => (float[1, 8, 64, 64] y)
               <float[8, 8, 3, 3] w, float16[1, 8, 64, 64] y_float16>
            {
               a = com.microsoft.nchwc.Conv (x, w)
               y_float16 = Relu (a)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # a: unknown operator
        "#]],
    );
}

#[test]
fn an_operator_of_the_microsoft_domain_changes_where_it_has_a_kernel() {
    check(
        "g (float[4,64] x) => (float[4,64] y) <float[64,64] w> {
            a = com.microsoft.FusedMatMul(x, w)
            y = com.microsoft.QuickGelu(a)
        }",
        expect![[r#"
            g (float[4, 64] x) => (float[4, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[4, 64] y_float16, float16[4, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = com.microsoft.FusedMatMul (x_float16, w)
               y_float16 = com.microsoft.QuickGelu (a)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn branches_change_with_what_they_capture() {
    check(
        "g (float[64,64] x, bool c) => (float[64,64] y) <float[64,64] w> {
            a = MatMul(x, w)
            y = If(c) <
                then_branch = t () => (float[64,64] p) { p = MatMul(a, w) },
                else_branch = e () => (float[64,64] q) { q = Pow(a, a) }
            >
        }",
        expect![[r#"
            g (float[64, 64] x, bool c) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] y_float16, float16[64, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = MatMul (x_float16, w)
               y_float16 = If (c) <then_branch: graph = t () => (float16[64, 64] p) {
                  p = MatMul (a, w)
               }, else_branch: graph = e () => (float16[64, 64] q_float16)
                  <float[] a_float>
               {
                  [a_float] a_float = Cast <to: int = 1> (a)
                  q = Pow (a_float, a_float)
                  [q_float16] q_float16 = Cast <to: int = 10> (q)
               }>
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # q: may overflow, and was not measured
        "#]],
    );
}

#[test]
fn the_state_of_a_loop_has_one_type_on_all_its_ways() {
    check(
        "g (float[64,64] x, int64 n, bool c) => (float[64,64] y) <float[64,64] w> {
            y = Loop(n, c, x) <
                body = b (int64 i, bool ci, float[64,64] s) => (bool co, float[64,64] t) {
                    co = Identity(ci)
                    t = MatMul(s, w)
                }
            >
        }",
        expect![[r#"
            g (float[64, 64] x, int64 n, bool c) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] y_float16, float16[64, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_float16 = Loop (n, c, x_float16) <body: graph = b (int64 i, bool ci, float16[64, 64] s) => (bool co, float16[64, 64] t) {
                  co = Identity (ci)
                  t = MatMul (s, w)
               }>
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_scan_changes_what_it_scans() {
    check(
        "g (float[64] h, float[9,64] x) => (float[64] y, float[9,64] z) {
            y, z = Scan<num_scan_inputs=1, body = b (float[64] s, float[64] e) => (float[64] t, float[64] u) {
                t = Add(s, e)
                u = Tanh(t)
            }>(h, x)
        }",
        expect![[r#"
            g (float[64] h, float[9, 64] x) => (float[64] y, float[9, 64] z)
               <float16[64] y_float16, float16[9, 64] z_float16, float16[64] h_float16, float16[9, 64] x_float16>
            {
               [h_float16] h_float16 = Cast <to: int = 10> (h)
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_float16, z_float16 = Scan (h_float16, x_float16) <num_scan_inputs: int = 1, body: graph = b (float16[64] s, float16[64] e) => (float16[64] t, float16[64] u) {
                  t = Add (s, e)
                  u = Tanh (t)
               }>
               [y] y = Cast <to: int = 1> (y_float16)
               [z] z = Cast <to: int = 1> (z_float16)
            }
        "#]],
    );
}

#[test]
fn an_initializer_that_is_an_input_changes_with_its_declaration() {
    check(
        "<ir_version: 3, opset_import: [\"\": 9]>
         g (float[1,4] x, float[4] w = {1, 2, 3, 4}) => (float[1,4] y) { y = Mul(x, w) }",
        expect![[r#"
            g (float[1, 4] x, float16[4] w) => (float[1, 4] y)
               <float16[4] w = {15360, 16384, 16896, 17408}, float16[1, 4] y_float16, float16[1, 4] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_float16 = Mul (x_float16, w)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn weights_made_by_nodes_change() {
    check(
        "g (float[1,4] x) => (float[1,4] y) <int64[1] four = {4}> {
            a = Constant<value = float[4] {1, 2, 3, 4}>()
            b = Constant<value_float = 2.0>()
            c = ConstantOfShape<value = float[1] {3}>(four)
            d = ConstantOfShape(four)
            i = Identity(a)
            p = Mul(x, i)
            q = Mul(p, b)
            r = Mul(q, c)
            y = Sub(r, d)
        }",
        expect![[r#"
            g (float[1, 4] x) => (float[1, 4] y)
               <int64[1] four = {4}, float16[1, 4] y_float16, float16[1, 4] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = Constant <value: tensor = float16[4] a {15360, 16384, 16896, 17408}> ()
               b = Constant <value: tensor = float16 b {16384}> ()
               c = ConstantOfShape <value: tensor = float16[1] {16896}> (four)
               d = ConstantOfShape <value: tensor = float16[1] {0}> (four)
               i = Identity (a)
               p = Mul (x_float16, i)
               q = Mul (p, b)
               r = Mul (q, c)
               y_float16 = Sub (r, d)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_local_function_changes_at_each_call() {
    check(
        "<ir_version: 9, opset_import: [\"\": 17, \"local\": 1]>
         g (float[64,64] x) => (float[64,64] y) <float[64,64] w> { a = local.twice(x, w) y = local.twice(a, w) }
         <domain: \"local\", opset_import: [\"\": 17]> twice (p, q) => (r) {
            t = Constant<value = float {0.5}>()
            m = MatMul(p, q)
            r = Mul(m, t)
         }",
        expect![[r#"
            g (float[64, 64] x) => (float[64, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[64, 64] y_float16, float16[64, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               "twice/t" = Constant <value: tensor = float16 "twice/t" {14336}> ()
               "twice/m" = MatMul (x_float16, w)
               a = Mul ("twice/m", "twice/t")
               "twice_1/t" = Constant <value: tensor = float16 "twice_1/t" {14336}> ()
               "twice_1/m" = MatMul (a, w)
               y_float16 = Mul ("twice_1/m", "twice_1/t")
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_rotation_before_a_product_moves_behind_it() {
    check(
        "g (float[3,n,64] x) => (float[n,3,64] y) <float[64,64] w> { t = Transpose<perm=[1,0,2]>(x) y = MatMul(t, w) }",
        expect![[r#"
            g (float[3, n, 64] x) => (float[n, 3, 64] y)
               <float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[n, 3, 64] y_float16, float16[3, n, 64] x_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               y_unrotated = MatMul (x_float16, w)
               [y_rotate] y_float16 = Transpose <perm: ints = [1, 0, 2]> (y_unrotated)
               [y] y = Cast <to: int = 1> (y_float16)
            }
        "#]],
    );
}

#[test]
fn a_sequence_is_left_alone() {
    check(
        "g (float[4,64] x) => (float[4,64] y) <int64 zero = {0}, float[64,64] w> {
            a = MatMul(x, w)
            s = SequenceConstruct(a, a)
            b = SequenceAt(s, zero)
            y = MatMul(b, w)
        }",
        expect![[r#"
            g (float[4, 64] x) => (float[4, 64] y)
               <int64 zero = {0}, float16[64, 64] w = ["location": "absent.data.float16", "offset": "0", "length": "8192"], float16[4, 64] y_float16, float16[4, 64] x_float16, float[] a_float, float16[] b_float16>
            {
               [x_float16] x_float16 = Cast <to: int = 10> (x)
               a = MatMul (x_float16, w)
               [a_float] a_float = Cast <to: int = 1> (a)
               s = SequenceConstruct (a_float, a_float)
               b = SequenceAt (s, zero)
               [b_float16] b_float16 = Cast <to: int = 10> (b)
               y_float16 = MatMul (b_float16, w)
               [y] y = Cast <to: int = 1> (y_float16)
            }
            # s: works on sequences, optionals or sparse tensors
            # b: works on sequences, optionals or sparse tensors
        "#]],
    );
}
