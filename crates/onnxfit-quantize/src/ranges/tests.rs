//! Ranges of streams whose answer is known.

use proptest::prelude::*;

use super::*;

/// Numbers that look like a normal distribution, the same every time.
fn bell(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n).map(|_| ((0..12).map(|_| unit()).sum::<f64>() - 6.0) as f32).collect()
}

fn seen(method: Method, samples: &[&[f32]]) -> Range {
    let mut observer = Observer::new(method);
    for sample in samples {
        observer.observe(sample);
    }
    observer.range(method, 255).unwrap()
}

#[test]
fn extremes_and_their_means_are_over_samples() {
    let samples: [&[f32]; 3] = [&[-1.0, 2.0], &[0.0, 5.0], &[-4.0, 2.0]];
    assert_eq!(seen(Method::MinMax, &samples), Range { lowest: -4.0, highest: 5.0 });
    assert_eq!(seen(Method::MeanMinMax, &samples), Range { lowest: -5.0 / 3.0, highest: 3.0 });
}

#[test]
fn numbers_that_are_none_are_counted_and_left_out() {
    let mut observer = Observer::new(Method::Entropy);
    observer.observe(&[f32::NAN, f32::INFINITY]);
    assert_eq!(observer.range(Method::Entropy, 255), None);
    observer.observe(&[1.0, f32::NEG_INFINITY, -3.0]);
    assert_eq!((observer.n_not_finite(), observer.n_samples()), (3, 1));
    assert_eq!(observer.histogram().unwrap().total(), 2);
}

#[test]
fn a_percentile_leaves_out_the_rare_ends() {
    let mut numbers = bell(100_000, 1);
    numbers.push(1000.0);
    let range = seen(Method::Percentile(99.9), &[&numbers]);
    // 0.05 % at each end of a normal distribution is 3.29 sigma; bins are 0.25 wide here.
    assert!((range.highest - 3.29).abs() < 0.3 && (range.lowest + 3.29).abs() < 0.3, "{range:?}");
    assert_eq!(seen(Method::Percentile(100.0), &[&numbers]).highest, 1000.0);
}

#[test]
fn one_far_number_does_not_widen_the_range_of_least_error() {
    let mut numbers = bell(100_000, 2);
    numbers.push(30.0);
    let range = seen(Method::Entropy, &[&numbers]);
    assert!(range.highest < 20.0 && range.highest > 2.0, "{range:?}");
    // Clipping costs (30 - h)², rounding all others n·((h + 4) / 254)² / 12: least near h = 26.
    let range = seen(Method::MeanSquare, &[&numbers]);
    assert!((range.highest - 26.0).abs() < 1.5, "{range:?}");
    assert_eq!(seen(Method::MinMax, &[&numbers]).highest, 30.0);
}

#[test]
fn numbers_without_far_ones_keep_nearly_their_whole_range() {
    let numbers: Vec<f32> = (0..10_000).map(|n| n as f32 / 10_000.0).collect();
    for method in [Method::MeanSquare, Method::Entropy] {
        let range = seen(method, &[&numbers]);
        assert!(range.highest > 0.97 && range.lowest == 0.0, "{method:?} {range:?}");
    }
}

#[test]
fn no_other_symmetric_range_has_a_smaller_divergence() {
    let mut observer = Observer::new(Method::Entropy);
    observer.observe(&bell(50_000, 3));
    let histogram = observer.histogram().unwrap();
    let best = observer.range(Method::Entropy, 255).unwrap();
    let found = divergence(histogram, best, 255);
    let whole = observer.range(Method::MinMax, 255).unwrap();
    for step in 1..=16 {
        let limit = whole.highest.max(-whole.lowest) * step as f32 / 16.0;
        let other = Range { lowest: whole.lowest.max(-limit), highest: whole.highest.min(limit) };
        assert!(found <= divergence(histogram, other, 255) + 1e-12);
    }
}

/// The sum itself, bin by bin, as the prefix sums must give it.
#[test]
fn the_divergence_is_the_sum_over_bins() {
    let mut observer = Observer::new(Method::Entropy);
    observer.observe(&bell(5_000, 4));
    observer.observe(&[7.5, -9.0, 0.0, 0.0]);
    let histogram = observer.histogram().unwrap();
    for (lowest, highest, n_levels) in [(-9.0, 7.5, 255), (-2.0, 2.0, 255), (-0.5, 3.0, 16), (0.0, 0.01, 255)] {
        let range = Range { lowest, highest };
        let step = f64::from(highest - lowest) / (n_levels - 1) as f64;
        let (low, high) = (f64::from(lowest) - step / 2.0, f64::from(highest) + step / 2.0);
        let bins: Vec<(f64, f64)> = histogram.filled().map(|(middle, count)| (middle, count as f64)).collect();
        let all: f64 = bins.iter().map(|bin| bin.1).sum();
        let outside =
            |is_out: &dyn Fn(f64) -> bool| bins.iter().filter(|bin| is_out(bin.0)).map(|bin| bin.1).sum::<f64>();
        let (before, after) = (outside(&|middle| middle < low), outside(&|middle| middle > high));
        let inside: Vec<(usize, f64)> = bins
            .iter()
            .filter(|bin| bin.0 >= low && bin.0 <= high)
            .map(|bin| (((bin.0 - f64::from(lowest)) / step).round().clamp(0.0, n_levels as f64 - 1.0) as usize, bin.1))
            .collect();
        let kept: f64 = inside.iter().map(|bin| bin.1).sum();
        let mut sum = 0.0;
        for (index, (level, count)) in inside.iter().enumerate() {
            let mut p = *count;
            p += if index == 0 { before } else { 0.0 };
            p += if index + 1 == inside.len() { after } else { 0.0 };
            let same: Vec<f64> = inside.iter().filter(|bin| bin.0 == *level).map(|bin| bin.1).collect();
            let q = same.iter().sum::<f64>() / same.len() as f64 / kept;
            sum += p / all * (p / all / q).ln();
        }
        let found = divergence(histogram, range, n_levels);
        assert!((found - sum).abs() < 1e-9, "{range:?}: {found} instead of {sum}");
    }
}

#[test]
fn the_histogram_stays_as_large_as_it_was() {
    let mut histogram = Histogram::new();
    for exponent in -20..20 {
        let number = 2f32.powi(exponent) * 1.1;
        histogram.add(&[number, -number, 0.0], number);
    }
    assert_eq!(histogram.counts.len(), N_BINS);
    assert_eq!(histogram.total(), 120);
    assert!(histogram.limit >= 2f32.powi(19) * 1.1);
}

#[test]
fn huge_and_tiny_numbers_are_counted() {
    let mut histogram = Histogram::new();
    histogram.add(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE / 2.0], f32::MAX);
    assert_eq!(histogram.total(), 3);
    let range = seen(Method::Entropy, &[&[f32::MAX, -f32::MAX]]);
    assert!(range.highest.is_finite());
}

#[test]
fn kept_ranges_that_were_damaged_are_refused() {
    let mut observers = Observers::new(Method::MinMax);
    observers.observe("x", &[1.0]);
    let bytes = observers.to_bytes();
    assert_eq!(Observers::from_bytes(&bytes[..bytes.len() - 1]), Err(StateError::Damaged));
    assert_eq!(Observers::from_bytes(b"something else"), Err(StateError::NotRanges));
    let longer = [bytes, vec![0]].concat();
    assert_eq!(Observers::from_bytes(&longer), Err(StateError::Damaged));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_samples_does_not_matter(
        samples in proptest::collection::vec(proptest::collection::vec(-1e3f32..1e3, 0..20), 1..8),
    ) {
        for method in [Method::Entropy, Method::MeanSquare, Method::Percentile(99.0)] {
            let (mut forward, mut backward) = (Observer::new(method), Observer::new(method));
            samples.iter().for_each(|sample| forward.observe(sample));
            samples.iter().rev().for_each(|sample| backward.observe(sample));
            prop_assert_eq!(&forward.histogram, &backward.histogram);
            prop_assert_eq!(forward.range(method, 255), backward.range(method, 255));
        }
    }

    #[test]
    fn what_was_kept_goes_on_as_if_never_interrupted(
        samples in proptest::collection::vec(proptest::collection::vec(-1e3f32..1e3, 1..20), 2..8), at in 0usize..8,
    ) {
        let method = Method::Percentile(99.5);
        let (mut whole, mut first) = (Observers::new(method), Observers::new(method));
        let at = at.min(samples.len());
        samples.iter().for_each(|sample| whole.observe("x", sample));
        samples[..at].iter().for_each(|sample| first.observe("x", sample));
        let mut resumed = Observers::from_bytes(&first.to_bytes()).unwrap();
        samples[at..].iter().for_each(|sample| resumed.observe("x", sample));
        prop_assert_eq!(whole, resumed);
    }
}
