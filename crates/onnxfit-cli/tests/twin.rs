//! The twin against ONNX Runtime on small models, one for each thing that it imitates. Skipped where no
//! ONNX Runtime is found.

use std::process::Command;

use onnxfit::runtime::locate::{Places, find};
use onnxfit_onnx::{RandomWeights, SaveOptions, WeightStore};
use serde_json::Value;

/// Runs a model written as text and says how the prediction fared; empty without an ONNX Runtime.
fn measured(text: &str, level: &str, sizes: &[&str]) -> String {
    if find(&Places::of_this_process()).library().is_none() {
        eprintln!("skipped: no ONNX Runtime was found");
        return String::new();
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("model.onnx");
    let proto = onnxfit_onnx::text::parse(text).expect("the text is a model");
    let store = WeightStore::new(folder.path());
    let weights = RandomWeights::new(&store, 1, Default::default());
    onnxfit_onnx::save(&proto, &path, &SaveOptions::new(&weights)).expect("it saves");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnxfit"));
    command.arg("measure").arg(&path).args(["--provider", "cpu", "--threads", "2", "--offline", "--json"]);
    command.args(["--opt-level", level]);
    for size in sizes {
        command.args(["--dim", size]);
    }
    let output = command.output().expect("the command starts");
    let view: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    view["accuracy"]["text"].as_str().expect("an accuracy line").to_owned()
}

#[track_caller]
fn is_exact(text: &str, level: &str, sizes: &[&str]) {
    let line = measured(text, level, sizes);
    assert!(line.is_empty() || line.contains("14 of 14 figures"), "{line}");
}

#[test]
fn a_sequence_that_a_loop_fills_holds_elements_of_a_size_for_each_round() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,64] x) => (float[K,64] y, float[S,64] last)
        <int64 rounds = {5}, bool go = {1}, int64[1] zero = {0}, int64[1] one = {1}, int64 at = {-1}> {
            empty = SequenceEmpty()
            full = Loop<body = b (int64 i, bool c, seq(float[R,64]) held) => (bool c2, seq(float[T,64]) more) {
                c2 = Identity(c) from = Unsqueeze(i, zero) to = Add(from, one)
                part = Slice(x, zero, to, zero) twice = Add(part, part) more = SequenceInsert(held, twice)
            }>(rounds, go, empty)
            whole = ConcatFromSequence<axis = 0>(full) y = Relu(whole)
            piece = SequenceAt(full, at) last = Tanh(piece)
        }"#;
    for level in ["disable", "extended"] {
        is_exact(text, level, &["N=9"]);
    }
}

#[test]
fn what_a_loop_collects_exists_in_pieces_and_whole() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,64] x) => (float[P,Q,64] y)
        <int64 rounds = {40}, bool go = {1}> {
            end, made = Loop<body = b (int64 i, bool c, float[A,64] h) => (bool c2, float[B,64] h2, float[B,64] seen) {
                c2 = Identity(c) t = Tanh(h) h2 = Add(t, h) seen = Exp(h2)
            }>(rounds, go, x)
            y = Relu(made)
        }"#;
    is_exact(text, "disable", &["N=9"]);
}

#[test]
fn parts_of_a_split_die_with_the_last_sequence_that_holds_them() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,64] x) => (float[A,64] y)
        <int64 four = {4}, int64 first = {0}> {
            parts = SplitToSequence<axis = 0>(x, four) some = SequenceErase(parts, first)
            one = SequenceAt(some, first) more = SequenceInsert(some, one) built = SequenceConstruct(one, one)
            left = ConcatFromSequence<axis = 0>(more) right = ConcatFromSequence<axis = 0>(built)
            both = Concat<axis = 0>(left, right) y = Relu(both)
        }"#;
    is_exact(text, "disable", &["N=14"]);
}

#[test]
fn a_value_that_a_fusion_makes_keeps_the_names_of_its_sizes() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,256] x, float[M,256] y) => (float[R,256] z)
        <float s = {0.1}, uint8 zp = {128}, float[P,256] sum> {
            qx = QuantizeLinear(x, s, zp) dx = DequantizeLinear(qx, s, zp)
            qy = QuantizeLinear(y, s, zp) dy = DequantizeLinear(qy, s, zp)
            sum = Add(dx, dy) qs = QuantizeLinear(sum, s, zp) ds = DequantizeLinear(qs, s, zp)
            t = Erf(ds) u = Erf(t) qu = QuantizeLinear(u, s, zp) du = DequantizeLinear(qu, s, zp) z = Erf(du)
        }"#;
    is_exact(text, "extended", &["N=6", "M=6", "P=6"]);
}

#[test]
fn pads_that_are_computed_in_floating_point_are_known_once_folded() {
    let text = r#"<ir_version: 8, opset_import: ["" : 16]>
        g (float[1,3,96,90] x) => (float[P,Q,R,S] y)
        <int64[1] last = {3}, float[1] side = {32.0}, int64[7] none = {0,0,0,0,0,0,0}> {
            s = Shape(x) w = Gather(s, last) f = Cast<to = 1>(w) most = ReduceMax<keepdims = 1>(f)
            d = Div(most, side) c = Ceil(d) t = Mul(c, side) n = Cast<to = 7>(t) gap = Sub(n, w)
            pads = Concat<axis = 0>(none, gap) wide = Pad(x, pads) z = Erf(wide) y = Erf(z)
        }"#;
    is_exact(text, "extended", &[]);
}

#[test]
fn sizes_of_an_einsum_are_those_of_the_first_operand_that_has_the_letter() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[B,N,H,16] x) => (float[B,H,N,N] y) {
            a = Erf(x) q = Einsum<equation = "bnhd,bmhd->bhnm">(a, x) d = Erf(q)
            k = Einsum<equation = "bnhd,bmhd->bhnm">(x, a) e = Add(d, k) y = Erf(e)
        }"#;
    is_exact(text, "disable", &["B=2", "N=25", "H=4"]);
}

#[test]
fn a_reshape_before_operator_set_14_tells_nothing_where_its_target_is_computed() {
    let text = r#"<ir_version: 7, opset_import: ["" : 13]>
        g (float[N,M,64] x) => (float[A,B] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] width = {64}> {
            s = Shape(x) n = Gather(s, zero) m = Gather(s, one) mn = Mul(n, m)
            t = Concat<axis = 0>(mn, width) a = Erf(x) r = Reshape(a, t)
            b = Erf(r) c = Erf(b) d = Erf(c) y = Erf(d)
        }"#;
    is_exact(text, "disable", &["N=3", "M=40"]);
}

#[test]
fn transforms_of_odd_lengths_take_longer_ones_beside() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1200] wave) => (float[A,B,C,2] y, float[D,E,F] z)
        <int64 step = {100}, int64 length = {300}> {
            p = STFT<onesided = 1>(wave, step, , length) y = Abs(p)
            u = Erf(wave) axes = Constant<value = int64[1] {-1}>() v = Unsqueeze(u, axes)
            q = DFT<axis = 1, onesided = 1>(v) z = Abs(q)
        }"#;
    is_exact(text, "disable", &["N=2"]);
}

#[test]
fn a_deformable_convolution_plans_where_it_samples() {
    let text = r#"<ir_version: 9, opset_import: ["" : 19]>
        g (float[N,4,20,20] x, float[N,36,20,20] offsets) => (float[N,8,20,20] y) <float[8,4,3,3] w> {
            a = DeformConv<kernel_shape = [3,3], pads = [1,1,1,1], offset_group = 2>(x, w, offsets) y = Erf(a)
        }"#;
    is_exact(text, "disable", &["N=2"]);
}
