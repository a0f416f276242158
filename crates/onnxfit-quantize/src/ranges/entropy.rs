//! The range whose quantized distribution tells least apart from the true one: Kullback-Leibler,
//! after "8-bit Inference with TensorRT" (Migacz, 2017).

use super::{Histogram, Range};

/// Thresholds that are tried.
const N_TRIED: usize = 128;
/// What an empty bin counts as, as a share of one number.
const EMPTY: f64 = 1e-4;

/// The best of the ranges that reach equally far to both sides, cut to what was seen.
pub(super) fn range(histogram: &Histogram, whole: Range, n_levels: usize) -> Range {
    let bins = Bins::new(histogram);
    let largest = whole.highest.abs().max(whole.lowest.abs());
    let tried = (1..=N_TRIED).map(|step| {
        let limit = largest * step as f32 / N_TRIED as f32;
        let range = Range { lowest: whole.lowest.max(-limit), highest: whole.highest.min(limit) };
        (range, bins.divergence(range, n_levels))
    });
    // Of equals the widest: it clips nothing.
    tried.fold((whole, f64::INFINITY), |best, new| if new.1 <= best.1 { new } else { best }).0
}

/// The divergence of what is left of a distribution by `n_levels` integers over a range from the
/// distribution itself with all that is outside moved to the ends.
pub fn divergence(histogram: &Histogram, range: Range, n_levels: usize) -> f64 {
    Bins::new(histogram).divergence(range, n_levels)
}

/// The bins that are not empty, and sums over all before each: a range costs its levels, not its
/// bins.
struct Bins {
    middles: Vec<f64>,
    /// One longer: numbers in the bins before.
    numbers: Vec<f64>,
    /// One longer: `count * ln(count)` of the bins before.
    logs: Vec<f64>,
}

impl Bins {
    fn new(histogram: &Histogram) -> Self {
        let (mut middles, mut numbers, mut logs) = (Vec::new(), vec![0.0], vec![0.0]);
        let (mut n_before, mut log_before) = (0.0, 0.0);
        for (middle, count) in histogram.filled() {
            let count = count as f64;
            middles.push(middle);
            n_before += count;
            log_before += count * count.ln();
            numbers.push(n_before);
            logs.push(log_before);
        }
        Self { middles, numbers, logs }
    }

    fn divergence(&self, range: Range, n_levels: usize) -> f64 {
        let (lowest, highest) = (f64::from(range.lowest.min(0.0)), f64::from(range.highest.max(0.0)));
        let n_levels = n_levels.max(2);
        let step = (highest - lowest) / (n_levels - 1) as f64;
        if step <= 0.0 {
            return f64::INFINITY;
        }
        let first = self.middles.partition_point(|middle| *middle < lowest - step / 2.0);
        let end = self.middles.partition_point(|middle| *middle <= highest + step / 2.0);
        if first >= end {
            return f64::INFINITY;
        }
        let count = |bin: usize| self.numbers[bin + 1] - self.numbers[bin];
        let (before, inside) = (self.numbers[first], self.numbers[end] - self.numbers[first]);
        let all = self.numbers[self.middles.len()];
        let after = all - self.numbers[end];
        // The sum of p ln(p / q), with p a bin's share of all and q what its level leaves to each of
        // its bins, times `all`: first the p ln p, the ends with what was moved to them.
        let plogp = |n: f64| if n > 0.0 { n * n.ln() } else { 0.0 };
        let mut sum = self.logs[end] - self.logs[first];
        for (bin, moved) in [(first, before), (end - 1, after)] {
            if end - first == 1 {
                sum = plogp(all);
            } else {
                sum += plogp(count(bin) + moved) - plogp(count(bin));
            }
        }
        let mut bin = first;
        while bin < end {
            let level = ((self.middles[bin] - lowest) / step).round().clamp(0.0, (n_levels - 1) as f64);
            // The last level takes all that is left: nothing is past it.
            let next = if level >= (n_levels - 1) as f64 {
                end
            } else {
                let border = lowest + (level + 0.5) * step;
                bin + 1 + self.middles[bin + 1..end].partition_point(|middle| *middle < border)
            };
            let numbers = self.numbers[next] - self.numbers[bin];
            let q = (numbers / (next - bin) as f64).max(EMPTY);
            let from_before = if bin == first { before } else { 0.0 };
            let from_after = if next == end { after } else { 0.0 };
            sum -= (numbers + from_before + from_after) * q.ln();
            bin = next;
        }
        sum / all + (inside / all).ln()
    }
}
