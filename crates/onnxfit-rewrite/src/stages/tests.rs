use expect_test::expect;
use onnxfit_graph::Model;
use onnxfit_onnx::text;
use onnxfit_shape::{Bindings, infer};

use super::*;

fn model(source: &str) -> Model {
    Model::from_proto(&text::parse(source).unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

fn stages(source: &str, cuts: &[usize]) -> String {
    let model = model(source);
    let facts = infer(&model, &Bindings::default()).graph;
    let stages = match cut(&model, &facts, cuts) {
        Ok(stages) => stages,
        Err(error) => return error.to_string(),
    };
    let mut shown = String::new();
    for stage in stages {
        let graph = Model::from_proto(&stage.model).expect("a stage is a model").graph;
        shown.push_str(&format!("{} -> {}\n{graph}", stage.inputs.join(", "), stage.outputs.join(", ")));
    }
    shown
}

const SKIP: &str = "g (float[batch, 4] x, int64[1] k) => (float[batch, 4] y, float[batch, 4] early)
    <float[4] w = {1, 2, 3, 4}> {
        two = Constant<value_float = 2.0>()
        a = Mul(x, w)
        early = Mul(a, two)
        b = Add(early, a)
        c = Mul(b, two)
        y = Sub(c, w)
    }";

#[test]
fn each_stage_is_fed_what_it_reads_and_makes_what_others_read() {
    expect![[r#"
        x -> a
        a = Mul(x, w)
        a -> early, b
        two = Constant<value_float=2>()
        early = Mul(a, two)
        b = Add(early, a)
        b -> y
        two = Constant<value_float=2>()
        c = Mul(b, two)
        y = Sub(c, w)
    "#]]
    .assert_eq(&stages(SKIP, &[1, 3]));
}

#[test]
fn a_body_brings_what_it_captures() {
    expect![[r#"
        x -> a, b
        a = Neg(x)
        b = Exp(a)
        c, a, b -> y
        y = If(c)
          then_branch:
            u = Add(a, b)
          else_branch:
            v = Identity(a)
    "#]]
    .assert_eq(&stages(
        "g (float[batch] x, bool c) => (float[batch] y) {
            a = Neg(x)
            b = Exp(a)
            y = If(c) <then_branch = t () => (float[batch] u) { u = Add(a, b) },
                       else_branch = e () => (float[batch] v) { v = Identity(a) }>
        }",
        &[2],
    ));
}

#[test]
fn an_output_that_is_an_input_is_refused() {
    expect!["the output `x` is an input or a weight itself"]
        .assert_eq(&stages("g (float[2] x) => (float[2] x, float[2] y) { y = Neg(x) }", &[]));
}
