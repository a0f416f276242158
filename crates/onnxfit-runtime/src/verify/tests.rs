use super::*;

fn floats(shape: &[u64], values: &[f32]) -> Tensors {
    let tensor = Tensor::from_f32(shape.to_vec(), values).expect("values fill the shape");
    [("y".to_owned(), tensor)].into_iter().collect()
}

fn problem_of(before: &Tensors, after: &Tensors, exactness: Exactness) -> String {
    let comparison = compare(before, after, exactness);
    assert_eq!(comparison.agrees, comparison.outputs.iter().all(|output| output.problem.is_none()));
    comparison.outputs.into_iter().find_map(|output| output.problem).unwrap_or_else(|| "the same".to_owned())
}

#[test]
fn the_same_answer_is_bit_identical() {
    let values = floats(&[3], &[1.0, f32::NAN, f32::INFINITY]);
    let comparison = compare(&values, &values, Exactness::Exact);
    assert!(comparison.agrees);
    assert_eq!((comparison.outputs[0].nan_counts, comparison.outputs[0].infinite_counts), ([1, 1], [1, 1]));
    // NaN is not equal to itself, but its bits are.
    assert!(comparison.outputs[0].bit_identical);
}

#[test]
fn each_kind_of_change_has_its_own_tolerance() {
    let before = floats(&[2], &[1.0, -2.0]);
    let nearly = floats(&[2], &[1.000_001, -2.0]);
    let half = floats(&[2], &[1.001, -2.0]);
    let far = floats(&[2], &[1.5, -2.0]);
    assert_eq!(problem_of(&before, &nearly, Exactness::Exact), "the same");
    assert!(problem_of(&before, &nearly, Exactness::BitIdentical).starts_with("is not bit-identical"));
    assert_eq!(problem_of(&before, &half, Exactness::Exact), "differs by 4.472e-4 (relative L2), at most 1e-5 allowed");
    assert_eq!(problem_of(&before, &half, Exactness::Half), "the same");
    assert_eq!(problem_of(&before, &far, Exactness::Half), "differs by 2.236e-1 (relative L2), at most 2e-2 allowed");
}

#[test]
fn numbers_are_what_they_are_called() {
    let comparison = compare(&floats(&[2], &[3.0, 4.0]), &floats(&[2], &[3.0, 3.0]), Exactness::Exact);
    let output = &comparison.outputs[0];
    assert_eq!(output.max_absolute_error, 1.0);
    assert_eq!(output.max_relative_error, 0.25);
    assert_eq!(output.relative_l2, 0.2);
    assert!((output.cosine - 21.0 / (5.0 * 18f64.sqrt())).abs() < 1e-12);
}

#[test]
fn another_winner_is_told_and_a_tie_is_none() {
    let scores = floats(&[2, 5], &[0.0, 9.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let moved = floats(&[2, 5], &[9.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(
        problem_of(&scores, &moved, Exactness::Quantized),
        "has its largest element elsewhere: top-1 agreement 0.0 %, at least 90.0 % wanted"
    );
    let tie = floats(&[1, 5], &[1.0; 5]);
    assert_eq!(compare(&tie, &tie, Exactness::Half).outputs[0].top1_agreement, None);
    let map = floats(&[2, 5], &[0.0, 9.0, 1.0, 0.0, 0.0, 1e-3, 2e-3, 0.0, 0.0, 0.0]);
    let moved = floats(&[2, 5], &[0.0, 9.0, 1.0, 0.0, 0.0, 3e-3, 2e-3, 0.0, 0.0, 0.0]);
    assert_eq!(compare(&map, &moved, Exactness::Half).outputs[0].top1_agreement, Some(1.0));
}

#[test]
fn a_new_nan_is_never_the_same() {
    let broken = floats(&[2], &[1.0, f32::NAN]);
    assert_eq!(
        problem_of(&floats(&[2], &[1.0, 2.0]), &broken, Exactness::Quantized),
        "has 1 NaN elements instead of 0"
    );
}

#[test]
fn whole_numbers_shapes_types_and_names_must_stay() {
    let ints = |values: &[i64]| -> Tensors {
        let tensor = Tensor::from_i64(vec![values.len() as u64], values).expect("a row");
        [("y".to_owned(), tensor)].into_iter().collect()
    };
    assert_eq!(problem_of(&ints(&[1, 2]), &ints(&[1, 3]), Exactness::Exact), "differs in whole numbers, by up to 1");
    assert_eq!(problem_of(&ints(&[1]), &ints(&[1, 3]), Exactness::Half), "has shape [2] instead of [1]");
    assert_eq!(problem_of(&ints(&[1]), &floats(&[1], &[1.0]), Exactness::Half), "is float instead of int64");
    assert_eq!(problem_of(&ints(&[1]), &Tensors::new(), Exactness::Half), "is missing from the changed model");
    assert_eq!(problem_of(&Tensors::new(), &ints(&[1]), Exactness::Half), "is not an output of the original");
}

#[test]
fn something_out_of_nothing_is_a_difference() {
    let zero = floats(&[2], &[0.0, 0.0]);
    assert!(problem_of(&zero, &floats(&[2], &[0.0, 1e-3]), Exactness::Quantized).starts_with("differs by"));
    assert_eq!(problem_of(&zero, &zero, Exactness::Exact), "the same");
}
