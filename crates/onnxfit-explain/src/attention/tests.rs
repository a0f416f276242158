use super::computes_scores;
use crate::context::{DimHint, ModelHints, TensorHint};

#[test]
fn tells_scores_from_projections_by_name() {
    let scores = [
        ("/distilbert/transformer/layer.0/attention/Add", "Add"),
        ("/blocks.7/attn/Add_2", "Add"),
        ("/encoder/layer.3/attention/self/Softmax", "Softmax"),
        ("/encoder/layer.3/attention/self/MatMul", "MatMul"),
        ("model/bert/encoder/layer_._0/attention/self/Softmax", "Softmax"),
        ("/h.0/attn/Where", "Where"),
        ("Attention_0", "Attention"),
    ];
    let others = [
        ("/distilbert/transformer/layer.0/attention/k_lin/Add", "Add"),
        ("/distilbert/transformer/layer.0/attention/out_lin/MatMul", "MatMul"),
        ("/model/layers.0/self_attn/q_proj/MatMul", "MatMul"),
        ("/model/layers.0/self_attn/o_proj/MatMul", "MatMul"),
        ("/encoder/layer.0/attention/self/query/Add", "Add"),
        ("/encoder/layer.0/attention/output/dense/MatMul", "MatMul"),
        ("/encoder/layer.0/attention/output/LayerNorm/Mul", "Mul"),
        ("/down_blocks.0/attentions.0/transformer_blocks.0/attn1/to_out.0/Add", "Add"),
        ("/down_blocks.0/attentions.0/transformer_blocks.0/attn1/to_k/MatMul", "MatMul"),
        ("model/bert/encoder/layer_._0/attention/self/key/Tensordot/MatMul", "MatMul"),
        ("/blocks.0/attn/qkv/MatMul", "MatMul"),
        ("/blocks.0/attn/proj/Add", "Add"),
        ("/h.0/attn/c_attn/MatMul", "MatMul"),
        ("/layers.0/attention/wq/MatMul", "MatMul"),
        ("/layers.0/mlp/fc1/Add", "Add"),
    ];
    for (node, op_type) in scores {
        assert!(computes_scores(node, op_type, None), "{node}");
    }
    for (node, op_type) in others {
        assert!(!computes_scores(node, op_type, None), "{node}");
    }
}

#[test]
fn lets_the_shape_decide_where_it_is_known() {
    let named = |name: &str| DimHint::Named(name.to_owned());
    let model = |dims: Vec<DimHint>| ModelHints {
        tensors: vec![TensorHint {
            name: "y".to_owned(),
            node: Some("/attn/MatMul".to_owned()),
            op_type: Some("MatMul".to_owned()),
            dims,
            element_bytes: 4,
        }],
        ..ModelHints::default()
    };
    let scores = model(vec![named("batch"), DimHint::Known(12), named("length"), named("length")]);
    let context = model(vec![named("batch"), named("length"), DimHint::Known(768)]);
    let rows = model(vec![named("batch"), DimHint::Known(12), DimHint::Known(197), DimHint::Known(64)]);
    assert!(computes_scores("/attn/MatMul", "MatMul", Some(&scores)));
    assert!(!computes_scores("/attn/MatMul", "MatMul", Some(&context)));
    assert!(!computes_scores("/attn/MatMul", "MatMul", Some(&rows)));
}
