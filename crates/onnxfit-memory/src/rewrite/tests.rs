use expect_test::{Expect, expect};

use super::*;

fn model_of(opset: i64, graph: &str) -> Model {
    let text = format!("<ir_version: 8, opset_import: [\"\" : {opset}]>\ng {graph}");
    let proto = onnxfit_onnx::text::parse(&text).expect("the text is a model");
    Model::from_proto(&proto).expect("the model is sound")
}

/// The nodes by id, and what was applied.
fn shown(outcome: &RewriteOutcome) -> String {
    let graph = &outcome.model.graph;
    let mut nodes: Vec<_> = graph.nodes().collect();
    nodes.sort_by_key(|(id, _)| *id);
    let name = |value: &Option<onnxfit_graph::ValueId>| value.map_or("", |value| graph.value(value).name.as_str());
    let mut text = String::new();
    for (id, node) in nodes {
        let inputs: Vec<_> = node.inputs.iter().map(name).collect();
        let outputs: Vec<_> = node.outputs.iter().map(name).collect();
        text += &format!("{}: {} = {}({})\n", id.index(), outputs.join(", "), node.op_type, inputs.join(", "));
    }
    for (name, count) in &outcome.applied {
        text += &format!("{name} {count}\n");
    }
    for diagnostic in &outcome.diagnostics {
        text += &format!("{diagnostic}\n");
    }
    text
}

fn check(model: &Model, options: &RewriteOptions, expected: Expect) {
    expected.assert_eq(&shown(&rewrite(model, options, None)));
}

const CONV: &str = "(float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) <float[3, 3, 1, 1] w = {1,0,0,0,1,0,0,0,1}>
    { i = Identity(x)  c = Conv(i, w)  y = Relu(c) }";

#[test]
fn a_fused_node_gets_the_next_free_id() {
    let options = RewriteOptions { level: Level::Extended, ..RewriteOptions::default() };
    check(
        &model_of(13, CONV),
        &options,
        expect![[r#"
            3: y = FusedConv(x, w)
            Level1_RuleBasedTransformer 1
            ConvActivationFusion 1
        "#]],
    );
}

#[test]
fn activations_stay_outside_of_convolutions_on_cuda() {
    let options = RewriteOptions { level: Level::Extended, provider: Provider::Cuda, ..RewriteOptions::default() };
    check(
        &model_of(13, CONV),
        &options,
        expect![[r#"
            1: c = Conv(x, w)
            2: y = Relu(c)
            Level1_RuleBasedTransformer 1
        "#]],
    );
}

#[test]
fn a_disabled_transform_or_rule_is_left_out() {
    let disabled = ["EliminateIdentity", "ConvActivationFusion"].map(str::to_owned).to_vec();
    let options = RewriteOptions { level: Level::Extended, disabled_optimizers: disabled, ..RewriteOptions::default() };
    check(
        &model_of(13, CONV),
        &options,
        expect![[r#"
            0: i = Identity(x)
            1: c = Conv(i, w)
            2: y = Relu(c)
        "#]],
    );
}

#[test]
fn says_what_it_does_not_imitate() {
    let options = RewriteOptions::default();
    let outcome = rewrite(&model_of(13, CONV), &options, None);
    let ids: Vec<_> = outcome.diagnostics.iter().map(|diagnostic| diagnostic.id).collect();
    assert_eq!(ids, ["layout-not-imitated"]);
}

const BIG: &str = "(float[1000, 1000] x) => (float[1000, 1000] y)
    { s = Shape(x)  z = ConstantOfShape(s)  y = Add(x, z) }";

#[test]
fn a_big_folded_tensor_is_known_by_type_and_shape() {
    let options = RewriteOptions { level: Level::Basic, ..RewriteOptions::default() };
    let outcome = rewrite(&model_of(13, BIG), &options, None);
    let graph = &outcome.model.graph;
    let folded =
        graph.value(graph.value_named("z").expect("the value is still read")).tensor().expect("it is fixed now");
    assert_eq!(folded.dims, [1000, 1000]);
    let location = folded.external_location().expect("the entry is sound").expect("it is external");
    assert_eq!((location.location.as_str(), location.length), (FOLDED_LOCATION, Some(4_000_000)));
}

const CONV_BN: &str = "(float[N, 1, 8, 8] x) => (float[N, 2, 8, 8] y)
    <float[2, 1, 1, 1] w = {1,2}, float[2] s = {1,1}, float[2] b = {0,0}, float[2] m = {0,0}, float[2] v = {1,1}>
    { c = Conv(x, w)  y = BatchNormalization(c, s, b, m, v) }";

/// What `AddInitializerWithOrtValue` makes is as inline as what the file holds (1.31).
#[test]
fn small_weights_that_a_fusion_makes_lie_with_the_small_weights_of_the_file() {
    let options = RewriteOptions { level: Level::Basic, ..RewriteOptions::default() };
    let outcome = rewrite(&model_of(13, CONV_BN), &options, None);
    let program = crate::lower::lower(&outcome.model);
    let weights: Vec<_> = program.weights.iter().map(|weight| (weight.bytes.get(), weight.external)).collect();
    assert_eq!(weights, [(8, false), (8, false)]);
}

const TWINS: &str = "(float[1000, 1000] x) => (float[1000, 1000] y)
    <int64[2] r = {1000,1000}, int64[2] s = {1000,1000}>
    { a = ConstantOfShape <value = float {1}> (r)  b = ConstantOfShape <value = float {1}> (s)
      c = ConstantOfShape <value = float {2}> (s)  d = Sum(x, a, b)  y = Add(d, c) }";

/// Packed copies of equal weights are shared, folded ones too.
#[test]
fn big_tensors_folded_alike_from_equal_constants_are_equal() {
    let options = RewriteOptions { level: Level::Basic, ..RewriteOptions::default() };
    let outcome = rewrite(&model_of(13, TWINS), &options, None);
    let program = crate::lower::lower(&outcome.model);
    let [a, b, c] = ["a", "b", "c"].map(|name| {
        program.weights.iter().find(|weight| program.value(weight.value).name == name).expect("it was folded").identity
    });
    assert!(a == b && b != c, "{a} {b} {c}");
}

#[test]
fn folding_stops_at_the_size_cap() {
    let options =
        RewriteOptions { level: Level::Basic, constant_folding_max_bytes: 3_999_999, ..RewriteOptions::default() };
    check(
        &model_of(13, BIG),
        &options,
        expect![[r#"
            1: z = ConstantOfShape(s)
            2: y = Add(x, z)
            ConstantFolding 1
        "#]],
    );
}
