use expect_test::{Expect, expect};
use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::text::{parse, print};

use super::*;

const DETECTOR: &str = "<ir_version: 8, opset_import: [\"\": 17]>
    g (float[1,8] x, int64[1] k) => (float[1,3] best, bool[1,8] seen) {
        s = Sigmoid(x)
        best, at = TopK(s, k)
        half = Constant<value = float {0.5}>()
        seen = Greater(s, half)
        y = Cast<to = 10>(s)
    }";

fn changed(change: fn(&mut ModelProto, &[Choice]), expected: Expect) {
    let mut model = parse(DETECTOR).unwrap();
    let choices = choices(&model);
    change(&mut model, &choices);
    let text = print(&model);
    expected.assert_eq(text.split_once("g (").unwrap().1);
    assert_eq!(print(&parse(&text).unwrap()), text);
}

#[test]
fn a_watched_model_tells_its_choices_and_what_goes_into_them() {
    changed(
        watch,
        expect![[r#"
            float[1, 8] x, int64[1] k) => (float[1, 3] best, bool[1, 8] seen, "at, input 0", "at, input 1", "seen, input 0", "seen, input 1", at) {
               s = Sigmoid (x)
               ["at, input 0"] "at, input 0" = Identity (s)
               ["at, input 1"] "at, input 1" = Identity (k)
               best, at = TopK (s, k)
               half = Constant <value: tensor = float {0.5}> ()
               ["seen, input 0"] "seen, input 0" = Identity (s)
               ["seen, input 1"] "seen, input 1" = Identity (half)
               seen = Greater (s, half)
               y = Cast <to: int = 10> (s)
            }
        "#]],
    );
}

#[test]
fn a_model_that_is_given_its_choices_takes_the_values_from_its_own_numbers() {
    changed(
        |model, choices| give(model, choices, |_| 2),
        expect![[r#"
            float[1, 8] x, int64[1] k, int64[?, ?] at, bool[?, ?] seen) => (float[1, 3] best, "at, input 0", "at, input 1", "seen, input 0", "seen, input 1") {
               s = Sigmoid (x)
               ["at, input 0"] "at, input 0" = Identity (s)
               ["at, input 1"] "at, input 1" = Identity (k)
               best = GatherElements <axis: int = -1> (s, at)
               half = Constant <value: tensor = float {0.5}> ()
               ["seen, input 0"] "seen, input 0" = Identity (s)
               ["seen, input 1"] "seen, input 1" = Identity (half)
               y = Cast <to: int = 10> (s)
            }
        "#]],
    );
}

#[test]
fn choices_that_are_made_in_another_way_are_left_alone() {
    let [before, after] =
        [DETECTOR.to_owned(), DETECTOR.replace("TopK(", "TopK<axis = 0>(")].map(|text| parse(&text).unwrap());
    let names: Vec<String> = shared(&before, &after).into_iter().map(|choice| choice.name).collect();
    assert_eq!(names, ["seen"]);
}

#[test]
fn the_branch_that_is_taken_becomes_part_of_the_graph() {
    let text = "<ir_version: 8, opset_import: [\"\": 17]> g (float[n,4] b, bool c) => (int64[m,3] kept) {
        kept = If(c) <
            then_branch = empty () => (int64[m,3] none) { none = Constant<value = int64[0,3] {}>() },
            else_branch = some () => (int64[m,3] k) <float[1] s = {1.0}> { o = Add(b, s) k = NonMaxSuppression(o, b) }
        >
    }";
    let mut model = parse(text).unwrap();
    assert_eq!(choices(&model), []);
    assert_eq!(ask(&mut model.clone()), [("kept, condition".to_owned(), "kept".to_owned())].into());
    resolve(&mut model, &[("kept".to_owned(), false)].into());
    let choice = choices(&model);
    watch(&mut model, &choice);
    expect![[r#"
        float[n, 4] b, bool c) => (int64[m, 3] kept, "k, in kept, input 0", "k, in kept, input 1", "k, in kept")
           <float[1] "s, in kept" = {1.0}>
        {
           "o, in kept" = Add (b, "s, in kept")
           ["k, in kept, input 0"] "k, in kept, input 0" = Identity ("o, in kept")
           ["k, in kept, input 1"] "k, in kept, input 1" = Identity (b)
           "k, in kept" = NonMaxSuppression ("o, in kept", b)
           [kept] kept = Identity ("k, in kept")
        }
    "#]]
    .assert_eq(print(&model).split_once("g (").unwrap().1);
}
