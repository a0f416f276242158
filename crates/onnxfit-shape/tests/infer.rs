//! What inference says, text in and text out.

mod support;

use expect_test::{Expect, expect};
use onnxfit_graph::Model;
use onnxfit_onnx::proto::{AttributeProto, FunctionProto, ModelProto, OperatorSetIdProto};
use onnxfit_shape::{Bindings, infer};
use support::{graph, inferred, inferred_with, model, show};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&inferred(text));
}

#[test]
fn a_reshape_by_a_computed_shape_is_a_formula() {
    check(
        "x: float[batch, seq, 768]
         zero = [0]
         one = [1]
         heads = [12, 64]
         s = Shape(x)
         b = Gather(s, zero)
         n = Gather(s, one)
         target = Concat<axis=0>(b, n, heads)
         r = Reshape(x, target)
         t = Transpose<perm=[0, 2, 1, 3]>(r)
         rest = [-1, 64]
         f = Reshape(t, rest)",
        expect![[r#"
            s: int64[3] = {batch, seq, 768}
            b: int64[1] = {batch}
            n: int64[1] = {seq}
            target: int64[4] = {batch, seq, 12, 64}
            r: float[batch, seq, 12, 64]
            t: float[batch, 12, seq, 64]
            f: float[batch*seq*12, 64]
        "#]],
    );
}

#[test]
fn windows_over_named_sizes_fold_into_one_division() {
    check(
        "x: float[batch, 3, height, width]
         w: float[16, 3, 3, 3]
         v: float[32, 16, 3, 3]
         a = Conv<strides=[2, 2]; pads=[1, 1, 1, 1]>(x, w)
         b = Conv<strides=[2, 2]; pads=[1, 1, 1, 1]>(a, v)
         p = GlobalAveragePool(b)
         y = Flatten(p)",
        expect![[r#"
            a: float[batch, 16, floor((height + 1)/2), floor((width + 1)/2)]
            b: float[batch, 32, floor((height + 3)/4), floor((width + 3)/4)]
            p: float[batch, 32, 1, 1]
            y: float[batch, 32]
        "#]],
    );
}

#[test]
fn names_that_are_expressions_are_read_as_such() {
    let text = "past: float[batch, 8, past_length, 64]
         mask: int64[batch, past_length + length]
         new: float[batch, 8, length, 64]
         all = Concat<axis=2>(past, new)
         noise: float[some name]
         n = Relu(noise)
         m = Cast<to=1>(mask)";
    check(
        text,
        expect![[r#"
        all: float[batch, 8, length + past_length, 64]
        n: float[some name]
        m: float[batch, length + past_length]
    "#]],
    );
    let bindings = Bindings { dims: [("length".to_owned(), 1)].into(), ..Bindings::default() };
    expect![[r#"
        all: float[batch, 8, past_length + 1, 64]
        n: float[some name]
        m: float[batch, past_length + 1]
    "#]]
    .assert_eq(&inferred_with(text, &bindings));
}

#[test]
fn a_given_shape_binds_the_names_in_it_and_contradictions_are_told() {
    let text = "x: float[batch, n + 1]
         n: int64[n]
         y = Relu(x)
         z = Relu(n)";
    let bindings = Bindings { inputs: [("x".to_owned(), vec![4, 8])].into(), ..Bindings::default() };
    expect![[r#"
        y: float[4, 8]
        z: int64[7] = {max(0, n[0]), max(0, n[1]), max(0, n[2]), max(0, n[3]), max(0, n[4]), max(0, n[5]), max(0, n[6])}
    "#]]
    .assert_eq(&inferred_with(text, &bindings));
    let bindings = Bindings {
        dims: [("batch".to_owned(), 2)].into(),
        inputs: [("x".to_owned(), vec![4, 8]), ("w".to_owned(), vec![1])].into(),
        ..Bindings::default()
    };
    expect![[r#"
        y: float[4, 8]
        z: int64[7] = {max(0, n[0]), max(0, n[1]), max(0, n[2]), max(0, n[3]), max(0, n[4]), max(0, n[5]), max(0, n[6])}
        warning[unknown-input]: the model has no input `w`
          hint: its inputs are x, n
        error[shape-contradiction]: a dimension of `x` is 4 in [4, 8], but 2 elsewhere
    "#]]
    .assert_eq(&inferred_with(text, &bindings));
}

#[test]
fn sizes_that_depend_on_data_are_named_and_bounded() {
    check(
        "x: float[n, 4]
         k: int64[1]
         i = NonZero(x)
         t = Transpose(i)
         g = GatherND(x, t)
         v, at = TopK(g, k)",
        expect![[r#"
            i: int64[2, i.dim1]
            t: int64[i.dim1, 2]
            g: float[i.dim1]
            v: float[k[0]]
            at: int64[k[0]]
            i.dim1 <= n*4
        "#]],
    );
}

#[test]
fn cuts_and_ranges_follow_symbols() {
    check(
        "x: float[batch, seq, 8]
         zero = [0]
         one = [1]
         minus = [-1]
         far = [9223372036854775807]
         a = Slice(x, one, far, one)
         b = Slice(x, zero, minus, one)
         back = [-9223372036854775808]
         c = Slice(x, minus, back, one, minus)
         s = Shape<start=1; end=2>(x)
         n = Squeeze(s)
         zero0 = Squeeze(zero)
         one0 = Squeeze(one)
         r = Range(zero0, n, one0)
         e = Expand(r, s)",
        expect![[r#"
            a: float[batch, max(0, seq - 1), 8]
            b: float[batch, max(0, seq - 1), 8]
            c: float[batch, seq, 8]
            s: int64[1] = {seq}
            n: int64[] = {seq}
            zero0: int64[] = {0}
            one0: int64[] = {1}
            r: int64[seq]
            e: int64[seq]
        "#]],
    );
}

#[test]
fn an_unknown_operator_is_named_once() {
    check(
        "x: float[2]
         a = com.acme.Foo(x)
         b = com.acme.Foo(a)
         c = Relu(b)",
        expect![[r#"
            a: ??
            b: ??
            c: ??
            warning[unknown-operator]: `com.acme::Foo` has no shape rule; what it makes is unknown unless the file declares it
        "#]],
    );
}

#[test]
fn a_function_of_the_model_is_followed() {
    let mut proto: ModelProto = model(graph("x: float[batch, 6]\ny = local.halve<axis=1>(x)")).to_proto();
    let mut body = graph("a = Relu(x)\nb, c = Split<axis=0>(a)").node;
    body[1].attribute =
        vec![AttributeProto { ref_attr_name: Some("axis".to_owned()), ..support::attribute("axis", "0") }];
    proto.functions.push(FunctionProto {
        name: Some("halve".to_owned()),
        domain: Some("local".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["b".to_owned()],
        attribute: vec!["axis".to_owned()],
        node: body,
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
        ..Default::default()
    });
    let model = Model::from_proto(&proto).unwrap();
    expect![[r#"
        y: float[batch, 3]
    "#]]
    .assert_eq(&show(&model, &infer(&model, &Bindings::default())));
}

/// A loop whose body appends its input to what it carries.
fn loop_model(n_trips: &str) -> Model {
    let mut body = graph(
        "i: int64[]
         go: bool[]
         seen: float[?]
         same = Identity(go)
         more = Concat<axis=0>(seen, x)",
    );
    body.output.swap(0, 0);
    let mut outer = graph(&format!(
        "x: float[n]
         start: float[0]
         {n_trips}
         m = Squeeze(trips)
         y = Loop(m, _, start)"
    ));
    let node = outer.node.iter_mut().find(|node| node.op_type() == "Loop").unwrap();
    let proto = AttributeProto {
        name: Some("body".to_owned()),
        g: Some(Box::new(body)),
        r#type: Some(5),
        ..Default::default()
    };
    node.attribute.push(proto);
    model(outer)
}

#[test]
fn a_loop_that_grows_evenly_is_known_at_its_end() {
    for (trips, expected) in [
        (
            "trips = [5]",
            expect![[r#"
        m: int64[] = {5}
        y: float[n*5]
    "#]],
        ),
        (
            "trips: int64[1]",
            expect![[r#"
        m: int64[] = {trips[0]}
        y: float[n*trips[0]]
    "#]],
        ),
    ] {
        let model = loop_model(trips);
        expected.assert_eq(&show(&model, &infer(&model, &Bindings::default())));
    }
}
