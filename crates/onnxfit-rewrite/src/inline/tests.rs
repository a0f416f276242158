use expect_test::expect;
use onnxfit_graph::Model;
use onnxfit_onnx::text;

use super::inline_functions;

fn inlined(model: &str) -> String {
    let model = Model::from_proto(&text::parse(model).unwrap_or_else(|error| panic!("{error}"))).unwrap();
    match inline_functions(&model) {
        Ok(Some(inlined)) => {
            assert!(inlined.functions().is_empty());
            inlined.graph.to_string()
        }
        Ok(None) => "nothing to do".to_owned(),
        Err(error) => error.to_string(),
    }
}

const HEADER: &str = "<ir_version: 9, opset_import: [\"\": 17, \"local\": 1]>";
const FUNCTION: &str = "<domain: \"local\", opset_import: [\"\": 17]>";

#[test]
fn a_model_without_functions_stays() {
    expect!["nothing to do"].assert_eq(&inlined("g (float[1] x) => (float[1] y) { y = Relu(x) }"));
}

#[test]
fn each_call_gets_its_own_names_and_attributes() {
    expect![[r#"
        leak/t = LeakyRelu<alpha=0.5>(x)
        a = Neg(leak/t)
        leak_1/t = LeakyRelu<alpha=0.25>(a)
        y = Neg(leak_1/t)
    "#]]
    .assert_eq(&inlined(&format!(
        "{HEADER} g (float[1] x) => (float[1] y) {{ a = local.leak<slope=0.5>(x) y = local.leak<slope=0.25>(a) }}
         {FUNCTION} leak <slope> (p) => (q) {{ t = LeakyRelu<alpha: float = @slope>(p) q = Neg(t) }}"
    )));
}

#[test]
fn functions_call_functions_and_bodies_follow() {
    expect![[r#"
        y = If(c)
          then_branch:
            inner/m = Add(x, x)
            outer/m = Abs(inner/m)
            p = Relu(outer/m)
          else_branch:
            q = Neg(x)
    "#]].assert_eq(&inlined(&format!(
        "{HEADER} g (float[1] x, bool c) => (float[1] y) {{
            y = If(c) <then_branch = t () => (float[1] p) {{ p = local.outer(x) }}, else_branch = e () => (float[1] q) {{ q = Neg(x) }}>
         }}
         {FUNCTION} outer (a) => (b) {{ m = local.inner(a, a) b = Relu(m) }}
         {FUNCTION} inner (a, c) => (b) {{ m = Add(a, c) b = Abs(m) }}"
    )));
}

#[test]
fn an_output_that_is_an_input_is_a_copy() {
    expect![[r#"
        y = Identity(x)
    "#]]
    .assert_eq(&inlined(&format!(
        "{HEADER} g (float[1] x) => (float[1] y) {{ y = local.same(x) }} {FUNCTION} same (a) => (a) {{ }}"
    )));
}

#[test]
fn a_function_that_calls_itself_is_refused() {
    expect!["function `f` calls itself"].assert_eq(&inlined(&format!(
        "{HEADER} g (float[1] x) => (float[1] y) {{ y = local.f(x) }}
         {FUNCTION} f (a) => (b) {{ b = local.h(a) }} {FUNCTION} h (a) => (b) {{ b = local.f(a) }}"
    )));
}
