use super::*;

fn scores(heads: u64) -> ModelHints {
    let named = |name: &str| DimHint::Named(name.to_owned());
    ModelHints {
        tensors: vec![TensorHint {
            name: "scores".to_owned(),
            node: Some("/attn/Add".to_owned()),
            op_type: Some("Add".to_owned()),
            dims: vec![named("batch"), DimHint::Known(heads), named("length"), named("length")],
            element_bytes: 4,
        }],
        weights_bytes: Bytes::ZERO,
    }
}

fn read(requested: u64, heads: u64) -> String {
    let readings = in_model(requested, Some("/attn/Add"), &scores(heads));
    readings.iter().map(|reading| format!("{} {:?}\n", reading.product, reading.dims)).collect()
}

#[test]
fn finds_batch_and_length_of_a_score_tensor() {
    let text = read(25_769_803_776, 12);
    assert!(text.contains("2048 x 12 x 512^2 x 4 {\"batch\": 2048, \"length\": 512}"), "{text}");
}

#[test]
fn shows_every_product_that_gives_the_number() {
    assert!(read(8_388_608_000, 16).contains("500 x 16 x 512^2 x 4"));
    assert!(read(8_388_608_000, 8).contains("1000 x 8 x 512^2 x 4"));
    let guesses = as_attention(8_388_608_000, None);
    let products: Vec<&str> = guesses.iter().map(|reading| reading.product.as_str()).collect();
    assert!(products.contains(&"500 x 16 x 512^2 x 4") && products.contains(&"1000 x 8 x 512^2 x 4"), "{products:?}");
}

#[test]
fn finds_a_weight_of_a_known_size_in_spite_of_the_rounding() {
    let model = ModelHints {
        tensors: vec![TensorHint {
            name: "w".to_owned(),
            node: None,
            op_type: None,
            dims: vec![DimHint::Known(1000), DimHint::Known(33)],
            element_bytes: 4,
        }],
        weights_bytes: Bytes(132_000),
    };
    assert_eq!(in_model(132_096, None, &model)[0].product, "1000 x 33 x 4");
    assert!(in_model(132_352, None, &model).is_empty());
}

#[test]
fn survives_dimensions_that_overflow() {
    let mut model = scores(u64::MAX);
    model.tensors[0].dims.push(DimHint::Known(0));
    assert!(in_model(u64::MAX, None, &model).is_empty());
}
