//! What is found to depend on what, in small models of each kind: text in, text out.

use expect_test::{Expect, expect};
use onnxfit_graph::Model;
use onnxfit_prune::Analysis;

fn found(text: &str) -> String {
    let proto = onnxfit_onnx::text::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let analysis = Analysis::of(&Model::from_proto(&proto).unwrap()).unwrap();
    let graph = &analysis.model.graph;
    let mut lines: Vec<String> = analysis
        .groups
        .iter()
        .map(|group| {
            let weights = group.axes.iter().filter(|axis| graph.constant_tensor(axis.value).is_some());
            let names: Vec<String> =
                weights.map(|axis| format!("{}.{}", graph.value(axis.value).name, axis.axis)).collect();
            format!("{} x {}", group.atoms.len(), names.join(" "))
        })
        .collect();
    lines.extend(analysis.diagnostics.iter().map(|finding| finding.message.clone()));
    lines.join("\n")
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&found(text));
}

/// Half of every group goes; the model that is left.
fn halved(text: &str) -> String {
    let proto = onnxfit_onnx::text::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let analysis = Analysis::of(&Model::from_proto(&proto).unwrap()).unwrap();
    let removed: Vec<usize> =
        analysis.groups.iter().flat_map(|group| group.atoms.iter().take(group.atoms.len() / 2).copied()).collect();
    let model = analysis.cut(&removed).unwrap().model;
    let mut lines: Vec<String> = Vec::new();
    for id in model.graph.initializers() {
        let value = model.graph.value(*id);
        let dims = value.tensor().map(|tensor| tensor.dims.clone()).unwrap_or_default();
        lines.push(format!("{} {dims:?}", value.name));
    }
    lines.join("\n")
}

#[test]
fn channels_of_a_residual_sum_go_together() {
    check(
        "g (float[N,3,H,W] x) => (float[N,5] y) <float[8,3,1,1] a, float[8,8,3,3] b, float[5,8] c> {
        s = Conv(x, a) t = Conv<pads = [1,1,1,1]>(s, b) r = Add(s, t) p = GlobalAveragePool(r) f = Flatten(p)
        y = Gemm<transB = 1>(f, c) }",
        expect!["8 x a.0 b.0 b.1 c.1"],
    );
}

#[test]
fn channels_of_a_depthwise_convolution_go_with_those_beside_it() {
    check(
        "g (float[N,3,H,W] x) => (float[N,4,H2,W2] y) <float[8,3,1,1] a, float[8,1,3,3] d, float[4,8,1,1] c> {
        s = Conv(x, a) t = Conv<group = 8>(s, d) y = Conv(t, c) }",
        expect!["8 x a.0 d.0 c.1"],
    );
}

#[test]
fn each_part_of_a_concatenation_goes_with_its_own_range() {
    check(
        "g (float[N,3,H,W] x) => (float[N,4,H,W] y) <float[8,3,1,1] a, float[6,3,1,1] b, float[4,14,1,1] c> {
        s = Conv(x, a) t = Conv(x, b) u = Concat<axis = 1>(s, t) y = Conv(u, c) }",
        expect![[r#"
            8 x a.0 c.1
            6 x b.0 c.1"#]],
    );
}

const ATTENTION: &str = "g (float[N,S,16] x) => (float[N,S,16] y)
    <float[16,24] q, float[16,24] k, float[16,24] v, float[24,16] o> {
    heads = Constant<value = int64[4] {0, 0, 4, 6}>() joined = Constant<value = int64[3] {0, 0, 24}>()
    qm = MatMul(x, q) qr = Reshape(qm, heads) qt = Transpose<perm = [0,2,1,3]>(qr)
    km = MatMul(x, k) kr = Reshape(km, heads) kt = Transpose<perm = [0,2,3,1]>(kr)
    vm = MatMul(x, v) vr = Reshape(vm, heads) vt = Transpose<perm = [0,2,1,3]>(vr)
    s = MatMul(qt, kt) p = Softmax<axis = -1>(s) z = MatMul(p, vt) zt = Transpose<perm = [0,2,1,3]>(z)
    zr = Reshape(zt, joined) y = MatMul(zr, o) }";

#[test]
fn a_head_goes_with_its_queries_keys_values_and_output() {
    check(ATTENTION, expect!["4 x q.1 k.1 v.1 o.0"]);
}

#[test]
fn shapes_that_name_the_heads_are_mended() {
    let left = halved(ATTENTION);
    assert!(left.contains("q [16, 12]") && left.contains("o [12, 16]"), "{left}");
}

#[test]
fn both_sides_of_a_gate_go_together() {
    check(
        "g (float[N,16] x) => (float[N,16] y) <float[16,40] a, float[16,40] b, float[40,16] c> {
        u = MatMul(x, a) w = MatMul(x, b) s = Sigmoid(u) t = Mul(u, s) g = Mul(t, w) y = MatMul(g, c) }",
        expect!["40 x a.1 b.1 c.0"],
    );
}

#[test]
fn what_a_normalization_averages_over_stays() {
    check(
        "g (float[N,16] x) => (float[N,4] y) <float[16,40] a, float[40] g, float[40] h, float[40,4] c> {
        u = MatMul(x, a) n = LayerNormalization(u, g, h) y = MatMul(n, c) }",
        expect![""],
    );
}

#[test]
fn an_operator_without_a_rule_keeps_what_it_touches() {
    check(
        "g (float[N,16] x) => (float[N,4] y) <float[16,40] a, float[40,4] c> {
        u = MatMul(x, a) n = com.microsoft.BifurcationDetector(u) y = MatMul(n, c) }",
        expect!["1 nodes `BifurcationDetector`, first `n`, keep what they touch whole"],
    );
}

#[test]
fn a_hidden_unit_goes_with_all_its_gates() {
    check(
        "g (float[S,N,5] x) => (float[S,N,3] y) <float[1,32,5] w, float[1,32,8] r, float[1,64] b, float[8,3] c> {
        h = LSTM<hidden_size = 8>(x, w, r, b) axes = Constant<value = int64[1] {1}>() q = Squeeze(h, axes)
        y = MatMul(q, c) }",
        expect!["8 x w.1 r.1 r.2 b.1 c.0"],
    );
}

/// Two queries share a key and a value, which are repeated for them.
const GROUPED: &str = "g (float[N,S,8] x) => (float[N,S,8] y)
    <float[8,64] wq, float[8,32] wk, float[8,32] wv, float[64,8] wo, int64[1] two = {2}, int64[1] wide = {16}, int64[1] minus = {-1}> {
    q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
    i0 = Constant<value = int64 {0}>() i1 = Constant<value = int64 {1}>() s = Shape(x) n = Gather(s, i0) l = Gather(s, i1)
    axes = Constant<value = int64[1] {0}>() n1 = Unsqueeze(n, axes) l1 = Unsqueeze(l, axes)
    four = Constant<value = int64[1] {4}>() qs = Concat<axis = 0>(n1, l1, four, wide) ks = Concat<axis = 0>(n1, l1, two, wide)
    qh = Reshape(q, qs) kh = Reshape(k, ks) vh = Reshape(v, ks)
    qt = Transpose<perm = [0,2,1,3]>(qh) kt = Transpose<perm = [0,2,1,3]>(kh) vt = Transpose<perm = [0,2,1,3]>(vh)
    third = Constant<value = int64[1] {2}>() k5 = Unsqueeze(kt, third) v5 = Unsqueeze(vt, third)
    t = Concat<axis = 0>(n1, two, two, l1, wide) r = Shape(t) o = ConstantOfShape<value = int64[1] {1}>(r) m = Mul(o, minus) e = Equal(t, m) w = Where(e, o, t)
    kx = Expand(k5, w) vx = Expand(v5, w)
    rs = Concat<axis = 0>(n1, four, l1, wide) kr = Reshape(kx, rs) vr = Reshape(vx, rs)
    kk = Transpose<perm = [0,1,3,2]>(kr) a = MatMul(qt, kk) p = Softmax<axis = -1>(a) c = MatMul(p, vr)
    ct = Transpose<perm = [0,2,1,3]>(c) all = Constant<value = int64[1] {64}>() cs = Concat<axis = 0>(n1, l1, all) cj = Reshape(ct, cs) y = MatMul(cj, wo) }";

#[test]
fn a_key_goes_with_all_queries_that_share_it() {
    check(GROUPED, expect!["2 x wq.1 wk.1 wv.1 wo.0"]);
    expect![[r#"
        wq [8, 32]
        wk [8, 16]
        wv [8, 16]
        wo [32, 8]
        qh/pruned [4]
        kh/pruned [4]
        vh/pruned [4]
        kx/pruned [5]
        vx/pruned [5]
        kr/pruned [4]
        vr/pruned [4]
        cj/pruned [3]"#]]
    .assert_eq(&halved(GROUPED));
}
