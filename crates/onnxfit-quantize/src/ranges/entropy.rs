//! The range whose quantized distribution tells least apart from the true one: Kullback-Leibler,
//! after "8-bit Inference with TensorRT" (Migacz, 2017).

use super::{Histogram, Range};

/// Thresholds that are tried.
const N_TRIED: usize = 128;
/// What an empty bin counts as, as a share of one number.
const EMPTY: f64 = 1e-4;

/// The best of the ranges that reach equally far to both sides, cut to what was seen.
pub(super) fn range(histogram: &Histogram, whole: Range, n_levels: usize) -> Range {
    let largest = whole.highest.abs().max(whole.lowest.abs());
    let tried = (1..=N_TRIED).map(|step| {
        let limit = largest * step as f32 / N_TRIED as f32;
        let range = Range { lowest: whole.lowest.max(-limit), highest: whole.highest.min(limit) };
        (range, divergence(histogram, range, n_levels))
    });
    // Of equals the widest: it clips nothing.
    tried.fold((whole, f64::INFINITY), |best, new| if new.1 <= best.1 { new } else { best }).0
}

/// The divergence of what is left of a distribution by `n_levels` integers over a range from the
/// distribution itself with all that is outside moved to the ends.
pub fn divergence(histogram: &Histogram, range: Range, n_levels: usize) -> f64 {
    let (lowest, highest) = (f64::from(range.lowest.min(0.0)), f64::from(range.highest.max(0.0)));
    let step = (highest - lowest) / (n_levels.max(2) - 1) as f64;
    if step <= 0.0 {
        return f64::INFINITY;
    }
    // By level: numbers inside, and bins that they fill.
    let mut levels = vec![(0.0f64, 0.0f64); n_levels.max(2)];
    let mut bins: Vec<(usize, f64)> = Vec::new();
    let (mut before, mut after) = (0.0, 0.0);
    for (middle, count) in histogram.filled() {
        let count = count as f64;
        if middle < lowest - step / 2.0 {
            before += count;
        } else if middle > highest + step / 2.0 {
            after += count;
        } else {
            let level = (((middle - lowest) / step).round().max(0.0) as usize).min(levels.len() - 1);
            levels[level].0 += count;
            levels[level].1 += 1.0;
            bins.push((level, count));
        }
    }
    if bins.is_empty() {
        return f64::INFINITY;
    }
    let n_bins = bins.len();
    let inside: f64 = bins.iter().map(|(_, count)| count).sum();
    let all = inside + before + after;
    let mut sum = 0.0;
    for (index, (level, count)) in bins.iter().enumerate() {
        let mut true_count = *count;
        true_count += if index == 0 { before } else { 0.0 };
        true_count += if index == n_bins - 1 { after } else { 0.0 };
        let (numbers, filled) = levels[*level];
        let p = true_count / all;
        let q = (numbers / filled).max(EMPTY) / inside;
        sum += p * (p / q).ln();
    }
    sum
}
