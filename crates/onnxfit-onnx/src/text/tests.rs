use expect_test::{Expect, expect};

use super::{PrintOptions, parse, print, print_with};
use crate::DataType;
use crate::proto::{ModelProto, TensorProto};

fn printed(text: &str, expected: Expect) {
    let model = parse(text).unwrap();
    let once = print(&model);
    expected.assert_eq(&once);
    assert_eq!(parse(&once).unwrap(), model, "printing and reading again changes the model");
}

fn error(text: &str, expected: Expect) {
    expected.assert_eq(&parse(text).unwrap_err().to_string());
}

fn weight(text: &str) -> TensorProto {
    parse(&format!("g () => () <{text}> {{}}")).unwrap().graph.unwrap().initializer.remove(0)
}

#[test]
fn a_model_without_header_gets_the_defaults() {
    printed(
        "g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }",
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (float[N, 3] x) => (float[N, 3] y) {
               y = Relu (x)
            }
        "#]],
    );
}

#[test]
fn every_field_of_the_header_is_kept() {
    printed(
        r#"<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3], producer_name: "me", producer_version: "1",
            domain: "d", model_version: 7, doc_string: "says \"hi\"", metadata_props: ["k": "v"]>
           "a graph" () => () {}"#,
        expect![[r#"
            <
               ir_version: 8,
               opset_import: ["" : 17, "ai.onnx.ml" : 3],
               producer_name: "me",
               producer_version: "1",
               domain: "d",
               doc_string: "says \"hi\"",
               model_version: 7,
               metadata_props: ["k": "v"]
            >
            "a graph" () => () {
            }
        "#]],
    );
}

#[test]
fn attributes_of_every_kind_are_kept() {
    printed(
        r#"g (float x) => (float y) {
            [n] y, "z/1", = com.acme.Op:v2 <a = 1, b = -1.5, c = "s", d = [1, 2], e: floats = [1, 2.5], f = ["a", "b"],
                g = int64[2] {1, 2}, h: tensor = float {0.5}, i = seq(float[N]), j: ints = [], k: int = @alpha,
                l = inf, m: float = -inf, n = [int64 t {1}, int64[0] {}], o = -9223372036854775808> (x, "", x)
            q = Sum(,x)
        }"#,
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (float x) => (float y) {
               [n] y, "z/1" = com.acme.Op:v2 <a: int = 1, b: float = -1.5, c: string = "s", d: ints = [1, 2], e: floats = [1.0, 2.5], f: strings = ["a", "b"], g: tensor = int64[2] {1, 2}, h: tensor = float {0.5}, i: type_proto = seq(float[N]), j: ints = [], k: int = @alpha, l: float = inf, m: float = -inf, n: tensors = [int64 t {1}, int64[0] {}], o: int = -9223372036854775808> (x, "", x)
               q = Sum ("", x)
            }
        "#]],
    );
}

#[test]
fn subgraphs_and_their_weights_are_kept() {
    printed(
        "g (bool c, float[2] x) => (float[2] y) {
            y = If (c) <then_branch = t () => (float[2] a) <float[2] w = {1, 2}> { a = Add(x, w) },
                        else_branch = e () => (float[2] b) { b = Identity(x) }>
        }",
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (bool c, float[2] x) => (float[2] y) {
               y = If (c) <then_branch: graph = t () => (float[2] a)
                  <float[2] w = {1.0, 2.0}>
               {
                  a = Add (x, w)
               }, else_branch: graph = e () => (float[2] b) {
                  b = Identity (x)
               }>
            }
        "#]],
    );
}

#[test]
fn functions_are_kept() {
    printed(
        r#"g (float[N] x) => (float[N] y) { y = local.f <alpha = 2.0> (x) }
        <domain: "local", opset_import: ["" : 18]> f <alpha, beta: int = 3> (a) => (b) <float[N] c>
        { c = Relu(a) b = Elu <alpha: float = @alpha> (c) }"#,
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (float[N] x) => (float[N] y) {
               y = local.f <alpha: float = 2.0> (x)
            }

            <
               domain: "local",
               opset_import: ["" : 18]
            >
            f <alpha, beta: int = 3> (a) => (b)
            <float[N] c>
            {
               c = Relu (a)
               b = Elu <alpha: float = @alpha> (c)
            }
        "#]],
    );
}

#[test]
fn types_of_every_kind_are_kept() {
    printed(
        r#"g (float a, float[] b, int4[?, "dim 2", 0] c, seq(float[N]) d, map(int64, string) e,
              optional(seq(float[])) f, sparse_tensor(double[3]) h, opaque(a.b, c) i, opaque(n) j, opaque() k) => () {}"#,
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (float a, float[] b, int4[?, "dim 2", 0] c, seq(float[N]) d, map(int64, string) e, optional(seq(float[])) f, sparse_tensor(double[3]) h, opaque(a.b, c) i, opaque(n) j, opaque() k) => () {
            }
        "#]],
    );
}

#[test]
fn a_weight_without_values_is_absent_and_a_value_that_a_node_writes_is_none() {
    let text = "g (float[2] x, float[2] d = {1, 2}) => (float[2] y)
        <float[2] h, float[256, 1024] w, int8[4] v = {...}, float[M] u, float[2] k = {3, 4}, float[2] e = [\"location\": \"w.bin\", \"offset\": \"8\"]>
        { h = Relu(x) y = Foo(h, w, v, u, k, d, e) }";
    printed(
        text,
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (float[2] x, float[2] d) => (float[2] y)
               <float[2] d = {1.0, 2.0}, float[256, 1024] w, int8[4] v, float[2] k = {3.0, 4.0}, float[2] e = ["location": "w.bin", "offset": "8"], float[2] h, float[M] u>
            {
               h = Relu (x)
               y = Foo (h, w, v, u, k, d, e)
            }
        "#]],
    );
    let graph = parse(text).unwrap().graph.unwrap();
    assert_eq!(graph.initializer[1].external_location().unwrap().unwrap().location, super::ABSENT_LOCATION);
    let infos: Vec<&str> = graph.value_info.iter().map(|info| info.name()).collect();
    assert_eq!(infos, ["h", "u"], "an unbound shape is no weight");
}

#[test]
fn an_absent_weight_may_share_its_name_with_an_input() {
    let text = "g (float[2] w = {...}) => (float[2] y) <float[2] v = {...}> { y = Add(w, v) }";
    printed(
        text,
        expect![[r#"
            <
               ir_version: 10,
               opset_import: ["" : 21, "com.microsoft" : 1]
            >
            g (float[2] w) => (float[2] y)
               <float[2] w = {...}, float[2] v>
            {
               y = Add (w, v)
            }
        "#]],
    );
    error("g () => () <float[2] w = {..., 1}> {}", expect!["line 1, column 30: expected `}`, found `,`"]);
}

#[test]
fn values_of_every_type_become_the_bytes_of_a_file() {
    let cases: [(&str, &[u8]); 14] = [
        ("int4[3] w = {1, -2, 7}", &[0xe1, 0x07]),
        ("uint2[5] w = {0, 1, 2, 3, 1}", &[0b1110_0100, 1]),
        ("int2[2] w = {-1, 1}", &[0b0111]),
        ("uint4[2] w = {15, 1}", &[0x1f]),
        ("float4e2m1[2] w = {15, 1}", &[0x1f]),
        ("float6e2m3[2] w = {63, 1}", &[0x7f, 0x00]),
        ("float16[3] w = {1.5, 15360, -inf}", &[0x00, 0x3e, 0x00, 0x3c, 0x00, 0xfc]),
        ("bfloat16[2] w = {1.0, 16256}", &[0x80, 0x3f, 0x80, 0x3f]),
        ("float8e4m3fn[2] w = {255, 0}", &[255, 0]),
        ("bool[2] w = {1, 0}", &[1, 0]),
        ("int16[1] w = {-2}", &[0xfe, 0xff]),
        ("uint32[1] w = {4294967295}", &[255, 255, 255, 255]),
        ("complex64[1] w = {1, -2.5}", &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]),
        ("uint64[1] w = {18446744073709551615}", &[255; 8]),
    ];
    for (text, bytes) in cases {
        let tensor = weight(text);
        assert_eq!(tensor.inline_bytes().unwrap().unwrap().as_ref(), bytes, "{text}");
    }
}

#[test]
fn every_type_reads_back_what_was_printed_from_raw_bytes() {
    for data_type in DataType::ALL.iter().copied().filter(|data_type| *data_type != DataType::String) {
        let n_bytes = data_type.packed_bytes(8).unwrap();
        // No pattern is an infinity or a NaN, and no bit lies beyond the last element.
        let raw: Vec<u8> = (0..n_bytes).map(|index| 0x11 + (0x0d * index % 0x60) as u8).collect();
        let tensor = TensorProto::from_raw("w", data_type, &[2, 4], raw.clone());
        let mut model = parse("g () => () {}").unwrap();
        model.graph.as_mut().unwrap().initializer.push(tensor);
        let read = parse(&print(&model)).unwrap().graph.unwrap().initializer.remove(0);
        assert_eq!(read.inline_bytes().unwrap().unwrap().as_ref(), raw, "{data_type}: {}", print(&model));
    }
}

#[test]
fn large_weights_are_left_out_when_asked() {
    let model = parse("g () => () <float[3] w = {1, 2, 3}, float[2] v = {1, 2}> {}").unwrap();
    let text = print_with(&model, &PrintOptions { elements_max: 2 });
    assert!(text.contains("float[3] w = {...}, float[2] v = {1.0, 2.0}"), "{text}");
    assert!(parse(&text).unwrap().graph.unwrap().initializer[0].is_external());
}

#[test]
fn errors_say_where_and_what() {
    error("g (float x) =>\n  (float y) {\n y = Relu(x }", expect!["line 3, column 13: expected `)`, found `}`"]);
    error("g (flot x) => () {}", expect!["line 1, column 9: expected `)`, found `x`"]);
    error("", expect!["line 1, column 1: expected the name of a graph, the text ends"]);
    error("<ir: 3> g () => () {}", expect!["line 1, column 2: expected a field of a model, found `ir`"]);
    error("g () => () <float[2] w = {1}> {}", expect!["line 1, column 29: tensor `w` of shape [2] has 1 values"]);
    error("g () => () <float[N] w = {1}> {}", expect!["line 1, column 25: tensor `w` has values but no fixed shape"]);
    error("g () => () <int4[1] w = {8}> {}", expect!["line 1, column 27: `8` is out of range"]);
    error("g () => () <int8[1] w = {128}> {}", expect!["line 1, column 26: `128` is out of range"]);
    error(
        "g () => () { y = A <a = []> () }",
        expect!["line 1, column 27: an empty list needs its type: `a: ints = []`"],
    );
    error(
        "g () => () { y = A <a: int = 1.5> () }",
        expect!["line 1, column 33: `a` is announced as int, but its value is of type float"],
    );
    error("g () => () { y = A <a = \"x> () }", expect!["line 1, column 25: a string without its closing quote"]);
    error("g () => () { y = A <a = [1, \"x\"]> () }", expect!["line 1, column 32: `a` has items of different types"]);
    let deep = format!("g ({} x) => () {{}}", "seq(".repeat(100_000));
    error(&deep, expect!["line 1, column 264: nested more than 64 deep"]);
}

#[test]
fn comments_and_blanks_are_skipped() {
    let model: ModelProto = parse("# a model\ng(float x)=>(float y){#relu\n y=Relu(x)#\n}# end").unwrap();
    assert_eq!(model.graph.unwrap().node[0].op_type(), "Relu");
}
