//! Graphs that mean harm: an answer in bounded time, never a panic.

mod support;

use std::time::{Duration, Instant};

use onnxfit_shape::{Bindings, infer, operators};
use proptest::prelude::*;
use support::{graph, inferred, model};

#[test]
fn impossible_numbers_leave_things_unknown() {
    let big = i64::MAX;
    for line in [
        format!("c = [{big}, {big}]\ny = ConstantOfShape(c)\nz = NonZero(y)"),
        format!("c = [{big}]\na = [0]\nd = [1]\nl = Squeeze(c)\ns = Squeeze(a)\nt = Squeeze(d)\ny = Range(s, l, t)"),
        format!("x: float[{big}, {big}]\nc = [-1]\ny = Reshape(x, c)\nz = Flatten<axis=9>(x)"),
        format!("x: float[4, 4]\nc = [{big}, {big}]\ny = Tile(x, c)\nz = Expand(x, c)"),
        format!("x: float[4, 4]\ny = Conv<strides=[0, 0]; kernel_shape=[{big}, {big}]>(x, x)"),
        format!("x: float[1, 1, 4, 4]\ny = Conv<strides=[0, -1]; kernel_shape=[{big}, {big}]; pads=[{big}, {big}, {big}, {big}]>(x, x)"),
        format!("x = [1, 2]\nc = [{big}, 1]\ny, z = Split(x, c)"),
        format!("x = [1, 2]\nc = [{}]\ny = Slice(x, c, c, c, c)", i64::MIN),
        format!("x = [1, 2]\nc = [{}]\ny = Div(x, c)\nz = Mod(x, c)\nn = Neg(c)\na = Abs(c)", i64::MIN),
        "x = [1, 2]\nc = [0]\ny = Div(x, c)\nz = Mod(x, c)\nr = Reshape(x, c)\ng = GatherND(x, c)\ns = ScatterND(x, c, c)".to_owned(),
        format!("x: float[2]\ny = Concat<axis={big}>(x, x)\nz = Transpose<perm=[9]>(x)\nt = Gather<axis=-{big}>(x, x)"),
        format!("x: float[2]\ny = Einsum<equation=...ab->>(x)\nz = Shape<start=-{big}; end={big}>(x)"),
    ] {
        assert!(!inferred(&line).is_empty(), "{line}");
    }
}

#[test]
fn doubling_a_formula_again_and_again_stays_small() {
    let mut text = "x: float[a, b]\nv0 = Shape(x)\n".to_owned();
    for step in 0..200 {
        text += &format!("w{step} = Mul(v{step}, v{step})\nv{} = Add(w{step}, v{step})\n", step + 1);
    }
    text += "y = ConstantOfShape(v200)";
    let begin = Instant::now();
    inferred(&text);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn loops_inside_loops_end() {
    let mut inner = graph("i: int64[]\ngo: bool[]\nv: float[?]\nsame = Identity(go)\nmore = Concat<axis=0>(v, v)");
    for _ in 0..12 {
        let mut outer = graph("i: int64[]\ngo: bool[]\nv: float[?]\nsame = Identity(go)\nmore = Loop(_, go, v)");
        let mut body = support::attribute("body", "x");
        (body.s, body.g, body.r#type) = (None, Some(Box::new(inner)), Some(5));
        outer.node[1].attribute.push(body);
        inner = outer;
    }
    let begin = Instant::now();
    let model = model(inner);
    infer(&model, &Bindings::default());
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

proptest! {
    /// Any operator on any inputs with any attributes.
    #[test]
    fn no_operator_panics(
        which in 0usize..10_000,
        inputs in prop::collection::vec(0usize..9, 0..7),
        ints in prop::collection::vec(-3i64..70, 0..5),
        number in -4i64..9,
    ) {
        let operators: Vec<_> = operators().collect();
        let (domain, op_type) = operators[which % operators.len()];
        let names = ["x", "y", "z", "scalar", "_", "empty", "small", "shape", "unknown"];
        let list = format!("{ints:?}");
        let attributes: Vec<String> =
            ["axes", "kernel_shape", "strides", "pads", "dilations", "perm", "split", "scales", "starts", "ends", "shape", "output_shape", "pooled_shape", "qkv_hidden_sizes", "ngram_indexes", "inputdimensions", "scan_input_axes"]
                .iter()
                .map(|name| format!("{name}={list}"))
                .chain(["axis", "group", "num_heads", "kv_num_heads", "q_num_heads", "batch_dims", "blocksize", "keepdims", "start", "end", "hidden_size", "num_scan_inputs", "to", "onesided", "inverse", "new_axis", "N", "K", "size", "step", "dim", "state_window", "k", "ceil_mode", "channels_last", "transA", "transB", "noop_with_empty_axes"].iter().map(|name| format!("{name}={number}")))
                .collect();
        // Some attributes only, by the numbers drawn.
        let kept: Vec<String> = attributes.into_iter().enumerate().filter(|(at, _)| (at + which / 7) % 3 != 0).map(|(_, text)| text).collect();
        let arguments: Vec<&str> = inputs.iter().map(|input| names[*input]).collect();
        let prefix = if domain.is_empty() { String::new() } else { format!("{domain}.") };
        let text = format!(
            "x: float[batch, 3, h, w]\ny: int64[2, 3]\nz: float[n]\nscalar: float[]\nempty = []\nsmall = [{}]\nshape = [2, -1, 0]\nu: float[n]\nunknown = com.acme.Foo(u)\no0, o1, o2, o3 = {prefix}{op_type}<{}>({})",
            ints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            kept.join("; "),
            arguments.join(", "),
        );
        inferred(&text);
    }
}
