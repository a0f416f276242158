//! What cannot be trained is named, with the parameters that it concerns.

mod common;

use common::parse;
use expect_test::{Expect, expect};
use onnxfit_train::{GradientOptions, Missing, differentiable_operators, differentiate, trainable_parameters};

fn refused(text: &str, parameters: &[&str], expected: Expect) {
    let error = differentiate(&parse(text), "loss", parameters, &GradientOptions::default()).unwrap_err();
    expected.assert_eq(&error.to_string());
}

const THROUGH_DET: &str = "g (float[2,2] x) => (float loss) <float[2,2] a, float[2,2] b, float[2,2] c> {
    m = MatMul(x, a) d = Det(m) n = MatMul(x, b) s = ReduceSum<keepdims = 0>(n) t = Add(d, s) u = ReduceSum<keepdims = 0>(t)
    loss = Identity(u)
}";

#[test]
fn an_operator_without_a_rule_is_named_with_the_parameters_it_cuts_off() {
    refused(THROUGH_DET, &["a", "b", "c"], expect!["no gradient through `Det` (`d`) has no rule; it cuts off `a`"]);
}

#[test]
fn parameters_behind_it_may_stay_as_they_are() {
    let options = GradientOptions { missing: Missing::Freeze, ..GradientOptions::default() };
    let made = differentiate(&parse(THROUGH_DET), "loss", &["a", "b", "c"], &options).unwrap();
    let names = |list: &[onnxfit_train::Gradient]| list.iter().map(|one| one.parameter.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made.gradients), ["b"]);
    assert_eq!(made.unreached, ["c"]);
    assert_eq!(made.cut_off[0].parameters, ["a"]);
}

#[test]
fn a_setting_that_a_rule_does_not_know_is_named_too() {
    refused(
        "g (float[4,2,3] x) => (float loss) <float[1,20,3] w, float[1,20,5] r> {
            y = LSTM<hidden_size = 5, clip = 1.0>(x, w, r) loss = ReduceSum<keepdims = 0>(y) }",
        &["w"],
        expect!["no gradient through `LSTM` (`y`) clips; it cuts off `w`"],
    );
}

#[test]
fn a_loss_is_one_number_and_a_parameter_is_stored() {
    refused(
        "g (float[N] x) => (float[N] loss) <float w> { loss = Mul(x, w) }",
        &["w"],
        expect!["`loss` cannot be the loss: its size depends on the inputs; a loss is one number"],
    );
    refused(
        "g (float[4] x) => (float loss) <float w> { p = Mul(x, w) loss = ReduceSum<keepdims = 0>(p) }",
        &["p"],
        expect!["`p` cannot be trained: it is computed, not stored"],
    );
    refused(
        "g (float[4] x) => (float loss) { loss = ReduceSum<keepdims = 0>(x) }",
        &["nothing"],
        expect!["the model has no parameter `nothing`"],
    );
}

#[test]
fn settings_and_statistics_are_no_weights() {
    let text = "g (float[N,2,4,4] x) => (float y) <float[2] g, float[2] b, float[2] m, float[2] v, float low = {0}, float[1,2,1,1] w> {
        n = BatchNormalization(x, g, b, m, v) c = Clip(n, low) p = Mul(c, w) y = ReduceSum<keepdims = 0>(p) }";
    assert_eq!(trainable_parameters(&parse(text)), ["g", "b", "w"]);
}

#[test]
fn the_gradient_graph_is_lean() {
    let text = "g (float[N,4] x) => (float loss) <float[3,4] w, float[3] b> {
        y = Gemm<transB = 1>(x, w, b) r = Relu(y) loss = ReduceMean<keepdims = 0>(r) }";
    let made = differentiate(&parse(text), "loss", &["w", "b"], &GradientOptions::default()).unwrap();
    expect![[r#"
        y = Gemm<transB=1>(x, w, b)
        r = Relu(y)
        loss = ReduceMean<keepdims=0>(r)
        loss/backward/Size = Size(r)
        loss/backward/Size_2 = Size(loss)
        loss/backward/Div = Div(loss/backward/Size, loss/backward/Size_2)
        loss/backward/Cast = Cast<to=1>(loss/backward/Div)
        loss/backward/Div_2 = Div(constant/0, loss/backward/Cast)
        loss/backward/Shape = Shape(r)
        loss/backward/Expand = Expand(loss/backward/Div_2, loss/backward/Shape)
        r/backward/Greater = Greater(r, constant/1)
        r/backward/Where = Where(r/backward/Greater, loss/backward/Expand, constant/1)
        w/gradient = Gemm<transA=1>(r/backward/Where, x)
        b/gradient = ReduceSum<keepdims=0>(r/backward/Where, constant/2)
    "#]]
    .assert_eq(&made.model.graph.to_string());
}

#[test]
fn more_than_a_hundred_operators_have_rules() {
    let n = differentiable_operators().count();
    assert!(n > 100, "{n}");
}
