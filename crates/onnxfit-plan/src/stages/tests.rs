use std::convert::Infallible;

use super::*;

/// A chain of steps with a weight each; every cut carries `crossing`.
fn chain(weights: &[u64], live: &[u64], crossing: &[u64]) -> Steps {
    Steps {
        weights: (0..weights.len()).map(|at| vec![at]).collect(),
        weight_bytes: weights.iter().copied().map(Bytes).collect(),
        live_bytes: live.iter().copied().map(Bytes).collect(),
        crossing_bytes: crossing.iter().map(|bytes| (*bytes < u64::MAX).then_some(Bytes(*bytes))).collect(),
    }
}

fn positions(steps: &Steps, n_stages: usize) -> Option<Vec<usize>> {
    cut(steps, n_stages).map(|cuts| cuts.positions)
}

#[test]
fn stages_are_of_even_size() {
    let steps = chain(&[100, 100, 100, 100, 500, 300], &[1; 6], &[1; 6]);
    assert_eq!(positions(&steps, 2), Some(vec![4]));
    assert_eq!(positions(&steps, 3), Some(vec![4, 5]));
}

#[test]
fn among_cuts_that_are_nearly_even_the_one_with_the_least_traffic_is_taken() {
    let steps = chain(&[100; 40], &[1; 40], &std::array::from_fn::<u64, 40, _>(|at| if at == 21 { 3 } else { 90 }));
    assert_eq!(positions(&steps, 2), Some(vec![21]));
}

#[test]
fn no_cut_is_made_where_none_may_be() {
    let never = u64::MAX;
    let steps = chain(&[100; 4], &[1; 4], &[never, never, never, 5]);
    assert_eq!(positions(&steps, 2), Some(vec![3]));
    assert_eq!(positions(&steps, 3), None);
    assert_eq!(positions(&chain(&[1], &[1], &[1]), 2), None);
}

#[test]
fn a_weight_that_both_ends_read_is_counted_in_both() {
    let mut steps = chain(&[10, 10, 10, 10], &[1; 4], &[1; 4]);
    steps.weights = vec![vec![0], vec![1], vec![2], vec![0]];
    steps.weight_bytes[0] = Bytes(1000);
    let peaks = stage_peaks(&steps, &[0, 2, 4]);
    assert_eq!((peaks[0][1], peaks[1][2], peaks[0][2]), (1011, 1011, 1021));
}

#[test]
fn cuts_move_to_where_real_stages_are_even() {
    let cuts = Cuts { positions: vec![10], candidates: (1..100).collect() };
    let real = |from: usize, to: usize| Ok::<_, Infallible>(Bytes((to - from) as u64));
    let Ok(moved) = balance(&cuts, 100, real);
    assert!((45..=55).contains(&moved[0]), "{moved:?}");
}
