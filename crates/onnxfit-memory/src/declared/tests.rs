use onnxfit_graph::Model;

use super::*;
use crate::lower::lower;

/// The declared shapes that the runtime would know, one line a value.
fn known_at_load(name: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toy").join(name);
    let mut proto = onnxfit_onnx::ModelFile::open(path).unwrap().proto;
    if let Some(graph) = &mut proto.graph {
        graph.value_info.clear();
    }
    let program = lower(&Model::from_proto(&proto).unwrap());
    program
        .nodes
        .iter()
        .flat_map(crate::program::Node::present_outputs)
        .map(|value| program.value(value))
        .map(|value| format!("{} {:?}", value.name, value.declared.as_deref().map(shown)))
        .collect()
}

fn shown(dims: &[DeclaredDim]) -> String {
    let dim = |dim: &DeclaredDim| match dim {
        DeclaredDim::Value(value) => value.to_string(),
        DeclaredDim::Symbol(name) => name.to_string(),
        DeclaredDim::Unknown => "?".to_owned(),
    };
    dims.iter().map(dim).collect::<Vec<_>>().join("x")
}

#[test]
fn a_convolution_of_unnamed_size_is_unknown_to_the_runtime() {
    let known = known_at_load("convchain.onnx");
    assert_eq!(known[0], "c0 Some(\"Nx16x?x?\")");
    assert_eq!(known[8], "gap Some(\"Nx64x1x1\")");
}

#[test]
fn a_reshape_to_zeros_keeps_names() {
    let known = known_at_load("attn.onnx");
    let of = |name: &str| known.iter().find(|line| line.starts_with(&format!("{name} "))).cloned().unwrap();
    assert_eq!(of("q1"), "q1 Some(\"BxSx4x32\")");
    assert_eq!(of("qk"), "qk Some(\"Bx4xSxS\")");
    assert_eq!(of("y"), "y Some(\"BxSx128\")");
}

/// The same of a model written as text, as `name shape, name shape`.
fn known_of_text(inputs: &str, outputs: &str, nodes: &str) -> String {
    let text = format!(
        "<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]>\ng ({inputs}) => ({outputs}) {{ {nodes} }}"
    );
    let proto = onnxfit_onnx::text::parse(&text).unwrap();
    let program = lower(&Model::from_proto(&proto).unwrap());
    let values = program.nodes.iter().flat_map(crate::program::Node::present_outputs);
    let line = |value: &crate::program::Value| {
        format!("{} {}", value.name, value.declared.as_deref().map_or_else(|| "-".to_owned(), shown))
    };
    values.map(|value| line(program.value(value))).collect::<Vec<_>>().join(", ")
}

#[test]
fn fused_attention_is_known_from_ids_to_caches() {
    let inputs = "int32[N, S] ids, float[400, 64] words, float[99, 64] places, float[64] scale, float[64] bias, \
                  float[64, 192] weight, float[192] all, float[2, N, 4, P, 16] past";
    assert_eq!(
        known_of_text(
            inputs,
            "float[N, S, 64] y",
            "e, m = com.microsoft.EmbedLayerNormalization(ids, , words, places, , scale, bias)
             a, c = com.microsoft.Attention<num_heads = 4>(e, weight, all, , past)
             s, , , t = com.microsoft.SkipLayerNormalization(a, e, scale, bias)
             h = com.microsoft.MultiHeadAttention<num_heads = 4>(s, t, t)
             y = com.microsoft.FastGelu(h)"
        ),
        "e NxSx64, m N, a NxSx64, c -, s NxSx64, t NxSx64, h NxSx64, y NxSx64"
    );
    assert_eq!(
        known_of_text(
            "float[N, S, 128] q, float[N, P, 2, 16] past",
            "float[N, S, 64] y",
            "y, k, v = com.microsoft.GroupQueryAttention<num_heads = 4, kv_num_heads = 2>(q)
             z = com.microsoft.RotaryEmbedding(y)"
        ),
        "y NxSx64, k Nx2xSx16, v Nx2xSx16, z NxSx64"
    );
}

#[test]
fn quantised_operators_are_known_as_their_plain_ones_are() {
    assert_eq!(
        known_of_text(
            "uint8[N, 8, 9, 9] x, float s, uint8 z, uint8[8, 1, 1] b, bool[N, 1, 1, 9] c, uint8[M, K] p, uint8[K, 12] q",
            "uint8[N, 8, 1, 1] y",
            "a = com.microsoft.QLinearAdd(x, s, z, b, s, z, s, z)
             d = com.microsoft.QLinearConcat<axis = 1>(s, z, x, s, z, a, s, z)
             w = com.microsoft.QLinearWhere(c, x, s, z, a, s, z, s, z)
             l = com.microsoft.QLinearAveragePool<kernel_shape = [3, 3]>(x, s, z, s, z)
             h = com.microsoft.QLinearAveragePool<kernel_shape = [2, 2], channels_last = 1>(x, s, z, s, z)
             r = com.microsoft.QLinearReduceMean<axes = [2], keepdims = 0>(x, s, z, s, z)
             g = com.microsoft.QGemm(p, s, z, q, s, z, , s, z)
             y = com.microsoft.QLinearGlobalAveragePool(x, s, z, s, z)"
        ),
        "a Nx8x9x9, d Nx16x9x9, w Nx8x9x9, l Nx8x7x7, h Nx7x8x9, r Nx8x9, g Mx12, y Nx8x1x1"
    );
}
