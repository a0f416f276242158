//! Flash attention: statistics of every row, and partial outputs where keys are split.
//!
//! `contrib_ops/cuda/bert/flash_attention/flash_api.cc` (ORT 1.30-dev).

use super::gpu::cards;
use super::{Piece, product};

/// Sums of exponentials, and partial results where keys are split over multiprocessors.
pub(super) fn flash_buffers(
    capability: (u32, u32),
    batch: u64,
    n_heads: u64,
    queries: u64,
    keys: u64,
    head: u64,
) -> Option<Vec<Piece>> {
    let rows = product(&[batch, n_heads, queries, 4])?;
    let mut sizes = Vec::new();
    for card in cards(Some(capability)) {
        let n_splits = n_splits(batch, n_heads, queries, keys, head, card.n_multiprocessors)?;
        let n_splits = if n_splits > 1 { n_splits } else { 0 };
        sizes.push((product(&[n_splits, rows])?, product(&[n_splits, rows, head.next_multiple_of(32)])?));
    }
    let (low, high) = (sizes.iter().min()?, sizes.iter().max()?);
    let expected = sizes[sizes.len() / 2];
    Some(vec![
        Piece::exact("sums of exponentials", rows),
        Piece::between("partial sums of exponentials", low.0, expected.0, high.0),
        Piece::between("partial outputs", low.1, expected.1, high.1),
    ])
}

/// `num_splits_heuristic`: the smallest number with 85 % of the best use of the multiprocessors.
pub(super) fn n_splits(
    batch: u64,
    n_heads: u64,
    queries: u64,
    keys: u64,
    head: u64,
    n_multiprocessors: u64,
) -> Option<u64> {
    let block = if head <= 64 {
        256
    } else if head <= 128 {
        128
    } else {
        64
    };
    let n_blocks = keys.div_ceil(block);
    let work = product(&[batch, n_heads, queries.div_ceil(64)])?;
    let n_splits_max = 128.min(n_multiprocessors).min(n_blocks);
    if work as f32 >= 0.8 * n_multiprocessors as f32 || n_splits_max <= 1 {
        return Some(1);
    }
    let efficiency = |n: u64| {
        let eligible = n == 1 || n_blocks.div_ceil(n) != n_blocks.div_ceil(n - 1);
        let waves = (work * n) as f32 / n_multiprocessors as f32;
        if eligible { waves / waves.ceil() } else { 0.0 }
    };
    let best = (1..=n_splits_max).map(efficiency).fold(0.0_f32, f32::max);
    let good_enough = |n: &u64| f64::from(efficiency(*n)) >= 0.85 * f64::from(best) && efficiency(*n) > 0.0;
    Some((1..=n_splits_max).find(good_enough).unwrap_or(1))
}
