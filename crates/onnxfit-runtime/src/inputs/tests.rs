use super::*;

fn spec(name: &str, element_type: ElementType, shape: &[i64]) -> InputSpec {
    InputSpec { name: name.to_owned(), element_type, shape: shape.to_vec(), role: None }
}

fn values(specs: &[InputSpec], options: InputOptions, name: &str) -> Vec<f64> {
    let tensors = make(specs, options).expect("these can be made up");
    tensors.get(name).and_then(Tensor::values).expect("it has numbers")
}

#[test]
fn each_input_gets_what_its_name_says() {
    use ElementType as E;
    use InputRole as R;
    for (name, element_type, shape, role) in [
        ("input_ids", E::Int64, &[1, 4][..], R::Ids),
        ("decoder_input_ids", E::Int32, &[1, 4], R::Ids),
        ("ids", E::Int64, &[1, 4], R::Ids),
        ("tokens", E::Int64, &[1, 4], R::Ids),
        ("attention_mask", E::Int64, &[1, 4], R::Mask),
        ("key_padding_mask", E::Bool, &[1, 4], R::Mask),
        ("token_type_ids", E::Int64, &[1, 4], R::Zeros),
        ("position_ids", E::Int64, &[1, 4], R::Positions),
        ("pixel_values", E::Float, &[1, 3, 8, 8], R::Normal),
        ("image", E::Uint8, &[8, 8, 3], R::Normal),
        ("text_lengths", E::Int64, &[1], R::Lengths),
        ("orig_target_sizes", E::Int64, &[1, 2], R::ImageSize),
        ("sr", E::Int64, &[], R::SampleRate),
        ("timestep", E::Int64, &[1], R::Timestep),
        ("past_key_values.0.key", E::Float, &[1, 2, 0, 4], R::Normal),
        ("mask_input", E::Float, &[1, 1, 8, 8], R::Zeros),
        ("flag", E::Bool, &[1], R::Mask),
        ("x", E::Int32, &[1], R::Ids),
    ] {
        assert_eq!(spec(name, element_type, shape).guessed_role(), role, "{name}");
    }
}

#[test]
fn ids_stay_inside_the_vocabulary() {
    let specs = [spec("input_ids", ElementType::Int64, &[64, 64])];
    let ids = values(&specs, InputOptions { seed: 1, vocab_size: Some(7) }, "input_ids");
    assert!(ids.iter().all(|id| (0.0..7.0).contains(id)));
    assert!((0..7).all(|id| ids.contains(&f64::from(id))), "all of them occur");
    let small = [spec("ids", ElementType::Int8, &[1024])];
    let ids = values(&small, InputOptions { seed: 1, vocab_size: Some(50_000) }, "ids");
    assert!(ids.iter().all(|id| (0.0..128.0).contains(id)));
}

#[test]
fn pixels_are_normal_and_the_same_for_the_same_seed() {
    let specs = [spec("pixel_values", ElementType::Float, &[1, 3, 64, 64])];
    let pixels = values(&specs, InputOptions::default(), "pixel_values");
    let mean = pixels.iter().sum::<f64>() / pixels.len() as f64;
    let variance = pixels.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / pixels.len() as f64;
    assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    assert_eq!(pixels, values(&specs, InputOptions::default(), "pixel_values"));
    assert_ne!(pixels, values(&specs, InputOptions { seed: 1, vocab_size: None }, "pixel_values"));
}

#[test]
fn another_input_beside_it_changes_nothing() {
    let alone = [spec("a", ElementType::Float, &[8])];
    let beside = [spec("b", ElementType::Float, &[8]), alone[0].clone()];
    let options = InputOptions::default();
    assert_eq!(values(&alone, options, "a"), values(&beside, options, "a"));
    assert_ne!(values(&beside, options, "a"), values(&beside, options, "b"));
}

#[test]
fn lengths_positions_and_sizes_agree_with_the_others() {
    let specs = [
        spec("text", ElementType::Int64, &[2, 9]),
        spec("audio", ElementType::Float, &[2, 80, 300]),
        spec("text_lengths", ElementType::Int64, &[2]),
        spec("audio_lengths", ElementType::Int64, &[2]),
        spec("images", ElementType::Float, &[1, 3, 480, 640]),
        spec("orig_target_sizes", ElementType::Int64, &[1, 2]),
        spec("position_ids", ElementType::Int64, &[2, 3]),
        spec("sr", ElementType::Int64, &[]),
    ];
    let of = |name: &str| values(&specs, InputOptions::default(), name);
    assert_eq!(of("text_lengths"), [9.0, 9.0]);
    assert_eq!(of("audio_lengths"), [300.0, 300.0]);
    assert_eq!(of("orig_target_sizes"), [480.0, 640.0]);
    assert_eq!(of("position_ids"), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    assert_eq!(of("sr"), [16_000.0]);
}

#[test]
fn the_cache_branch_is_taken_when_there_is_a_past() {
    for (length, switch) in [(0, 0.0), (31, 1.0)] {
        let specs = [
            spec("past_key_values.0.key", ElementType::Float, &[1, 8, length, 64]),
            spec("use_cache_branch", ElementType::Bool, &[1]),
        ];
        assert_eq!(values(&specs, InputOptions::default(), "use_cache_branch"), [switch]);
    }
}

#[test]
fn what_cannot_be_made_up_is_named() {
    let refuse = |spec: InputSpec| make(&[spec], InputOptions::default()).expect_err("refused").to_string();
    assert_eq!(
        refuse(spec("x", ElementType::Float, &[-1, 3])),
        "input `x` has the shape [-1, 3]: give every dimension a size"
    );
    assert_eq!(
        refuse(spec("x", ElementType::Float, &[1 << 62, 8])),
        "input `x` of shape [4611686018427387904, 8] is larger than any memory"
    );
    assert_eq!(
        refuse(spec("x", ElementType::Int4, &[2])),
        "input `x` is int4, which cannot be made up; give it in a .npz file"
    );
}
