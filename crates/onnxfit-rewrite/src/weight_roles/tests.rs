use expect_test::expect;
use onnxfit_graph::Model;
use onnxfit_onnx::text;

use super::roles;

fn roles_of(body: &str) -> String {
    let model = Model::from_proto(&text::parse(body).unwrap()).unwrap();
    roles(&model).into_iter().map(|(name, role)| format!("{name}: {role:?}\n")).collect()
}

#[test]
fn a_kernel_keeps_the_variance() {
    expect![[r#"
        b: Normal { std: 0.02 }
        v: Normal { std: 0.020833334 }
        w: Normal { std: 0.058925565 }
    "#]]
    .assert_eq(&roles_of(
        "g (float[1,64,8,8] x) => (float[1,64,8,8] y) <float[64,64,3,3] w, float[64] b, float[64,64,3,3] v> {
            a = Conv<pads=[1,1,1,1]>(x, w, b)
            r = Relu(a)
            c = Conv<pads=[1,1,1,1]>(r, v)
            y = Add(c, x)
        }",
    ));
}

#[test]
fn normalizations_are_near_one_and_found_behind_copies_and_in_bodies() {
    expect![[r#"
        scale: Uniform { low: 0.9, high: 1.1 }
        w: Normal { std: 0.25 }
    "#]]
    .assert_eq(&roles_of(
        "g (float[2,16] x, bool c) => (float[2,16] y) <float[16] scale, float[16,16] w> {
            s = Identity(scale)
            n = LayerNormalization(x, s)
            y = If(c) <
                then_branch = t () => (float[2,16] p) { wt = Transpose(w) p = MatMul(n, wt) },
                else_branch = e () => (float[2,16] q) { q = Identity(n) }
            >
        }",
    ));
}

#[test]
fn a_table_of_indices_stays_inside_the_table_it_points_into() {
    expect![[r#"
        ids: Integers { low: 0, high: 29 }
        table: Normal { std: 0.02 }
    "#]]
    .assert_eq(&roles_of(
        "g (float[1] x) => (float[4,8] y) <float[30,8] table, int64[4] ids> { a = Gather(table, ids) y = Add(a, x) }",
    ));
}
