use onnxfit_memory::trace::Owner;

use super::*;

fn part(kind: OwnerKind, name: &str, node: &str, bytes: u64) -> Part {
    let owner = Owner { kind, name: name.into(), node: node.into(), op_type: "Conv".into() };
    Part { owner, bytes: Bytes(bytes), requested_bytes: Bytes(bytes) }
}

fn moment() -> Moment {
    Moment {
        node: None,
        block_node: None,
        parts: vec![
            part(OwnerKind::Activation, "a", "/layer1/layer1.0/conv1/Conv", 6000),
            part(OwnerKind::Weight, "layer1.0.conv1.weight", "", 3000),
            part(OwnerKind::Weight, "layer2.0.conv1.weight", "", 700),
            part(OwnerKind::PatternGap, "memory pattern", "", 200),
            part(OwnerKind::Feed, "x", "", 99),
            part(OwnerKind::Weight, "fc.bias", "", 1),
        ],
    }
}

fn lines(layers: &[LayerView], depth: usize, out: &mut String) {
    for layer in layers {
        let indent = "  ".repeat(depth);
        out.push_str(&format!("{indent}{} {} {}\n", layer.name, layer.bytes.0.0, layer.weights_bytes.0.0));
        let inner: u64 = layer.layers.iter().map(|inner| inner.bytes.0.0).sum();
        assert!(layer.layers.is_empty() || inner == layer.bytes.0.0, "{} sums to {inner}", layer.name);
        lines(&layer.layers, depth + 1, out);
    }
}

#[test]
fn nodes_and_weights_of_a_layer_come_together_and_the_tree_sums_to_the_peak() {
    let views = layers(&moment(), &Graph::default());
    let mut text = String::new();
    lines(&views, 0, &mut text);
    assert_eq!(views.iter().map(|view| view.bytes.0).sum::<Bytes>(), moment().bytes());
    assert_eq!(
        text,
        "layer1/0/conv1 9000 3000\nlayer2/0/conv1 700 700\n(memory pattern, unoccupied) 200 0\n(inputs) 99 0\n(1 small) 1 1\n"
    );
}

#[test]
fn the_sentence_names_the_kind_and_the_largest_of_it() {
    assert_eq!(
        dominant(&moment()),
        "tensors between nodes dominate: 5.86 KiB of 9.77 KiB (60 %); the largest is `a` of `/layer1/layer1.0/conv1/Conv` with 5.86 KiB"
    );
    assert_eq!(dominant(&Moment::default()), "");
}

#[test]
fn repeated_modules_and_nameless_fusions_find_their_layer() {
    assert_eq!(scopes("/features/features.1/features.1.0/mlp/mlp.0/MatMul").join("/"), "features/1/0/mlp/0");
    assert_eq!(scopes("features.1.0.mlp.0.weight").join("/"), "features/1/0/mlp/0");
    assert_eq!(scopes("Conv_7").join("/"), "");
    let fused = part(OwnerKind::Activation, "/layer1/act/Mul_output_0", "BiasGelu", 1);
    assert_eq!(path(&fused, &BTreeMap::new()).join("/"), "layer1/act");
}
