use super::*;

/// A model that takes `bytes_of(n)` on a target with a budget, and refuses sizes past `refused`.
fn explored(size: i64, budget: u64, refused: i64, bytes_of: impl Fn(i64) -> u64) -> (GrowthView, usize) {
    let mut n_replays = 0;
    let mut probe = Probe {
        replay: |size: i64| {
            n_replays += 1;
            let bytes = Bytes(bytes_of(size)).into();
            let fits = Some(bytes_of(size) <= budget);
            (size < refused).then_some(GrowthPointView { size, tensors_bytes: bytes, device_peak_bytes: bytes, fits })
        },
        points: BTreeMap::new(),
        refused: None,
        n_left: 40,
    };
    let view = probe.explore("n", size);
    (view, n_replays)
}

#[test]
fn a_line_is_found_and_so_is_the_last_size_that_fits() {
    let (view, n_replays) = explored(64, 1_000_000, i64::MAX, |n| 5_000 + 1_091 * n as u64);
    assert_eq!(view.formula_text(), "tensors take 4.88 KiB + 1.07 KiB × n (exact at every size tried from 16 to 128)");
    // 5 000 + 1 091 · 912 = 999 992
    assert_eq!(view.limit_text(), "n ≤ 912 fits");
    assert!(n_replays < 20, "{n_replays}");
}

#[test]
fn a_parabola_is_found() {
    let (view, _) = explored(7, 10_000, i64::MAX, |n| (3 * n * n + 2 * n + 100) as u64);
    let formula = view.formula.unwrap();
    assert_eq!((formula.constant_bytes, formula.linear_bytes, formula.quadratic_bytes), (100, 2, 3));
    assert_eq!(view.limit_text(), "n ≤ 57 fits");
}

#[test]
fn what_is_no_polynomial_is_stated_point_by_point() {
    let (view, _) = explored(4, u64::MAX, 1000, |n| 1 << n.min(40));
    assert_eq!(view.formula, None);
    assert!(view.formula_text().starts_with("tensors take 2 B at 1, 4 B at 2"), "{}", view.formula_text());
}

#[test]
fn where_the_larger_of_two_takes_over_the_formula_keeps_to_its_side() {
    let (view, _) = explored(64, u64::MAX, 200, |n| (n as u64 * 10).max((n as u64 * 100).saturating_sub(6_000)));
    let formula = view.formula.unwrap();
    assert_eq!((formula.linear_bytes, formula.from, formula.to), (10, 16, 64));
}

#[test]
fn a_size_that_the_model_refuses_ends_the_search() {
    let (view, _) = explored(128, u64::MAX, 600, |n| n as u64);
    assert_eq!((view.largest_that_fits, view.refused_by_model), (Some(512), Some(1024)));
    assert_eq!(view.limit_text(), "n = 512 fits; the model itself does not take 1024");
}

#[test]
fn a_request_that_does_not_fit_is_halved_until_it_does() {
    assert_eq!(explored(64, 100, i64::MAX, |n| 10 * n as u64).0.limit_text(), "n ≤ 10 fits");
    assert_eq!(explored(64, 5, i64::MAX, |n| 10 * n as u64).0.limit_text(), "not even n = 1 fits");
}

#[test]
fn where_the_sides_change_below_the_size_it_looks_closer() {
    // Two shapes meet at 300: the quarters of 512 lie on both sides.
    let (view, _) = explored(512, u64::MAX, 1000, |n| (n as u64 * 1_000).max((n * n) as u64 * 4 - 60_000));
    let formula = view.formula.unwrap();
    assert_eq!((formula.quadratic_bytes, formula.from, formula.to), (4, 320, 512));
}
