//! Numbers by size, in a fixed number of bins.

/// How many bins there are, half of them for negative numbers.
pub const N_BINS: usize = 8192;
const HALF: usize = N_BINS / 2;

/// Counts of numbers between `-limit` and `limit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// A power of two; zero while every number was zero.
    pub(crate) limit: f32,
    pub(crate) counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self { limit: 0.0, counts: vec![0; N_BINS] }
    }

    /// Counts the finite ones among `numbers`, none of which is larger than `largest`.
    pub fn add(&mut self, numbers: &[f32], largest: f32) {
        self.grow(largest);
        // Zero without a limit: all of them are zero and fall into the middle.
        let steps = if self.limit > 0.0 { HALF as f64 / f64::from(self.limit) } else { 0.0 };
        let bin = |number: f32| {
            // Rounded down; `as` takes what is past an integer to its end, and NaN to zero.
            let scaled = f64::from(number) * steps;
            let toward_zero = scaled as i32;
            let down = toward_zero.saturating_sub(i32::from(scaled < f64::from(toward_zero)));
            let bin = down.saturating_add(HALF as i32);
            (bin.max(0) as usize).min(N_BINS - 1)
        };
        // Equal numbers follow each other: with two counts in turn none waits for the one before.
        for numbers in numbers.chunks(u32::MAX as usize) {
            let mut counts = [vec![0u32; N_BINS], vec![0u32; N_BINS]];
            let [even, odd] = &mut counts;
            let (pairs, rest) = numbers.as_chunks::<2>();
            for [first, second] in pairs {
                even[bin(*first)] += u32::from(first.is_finite());
                odd[bin(*second)] += u32::from(second.is_finite());
            }
            rest.iter().for_each(|number| even[bin(*number)] += u32::from(number.is_finite()));
            for (count, more) in self.counts.iter_mut().zip(even.iter().zip(odd.iter())) {
                *count += u64::from(*more.0) + u64::from(*more.1);
            }
        }
    }

    /// Doubles the limit until nothing of that size is past it: bins merge in pairs.
    fn grow(&mut self, largest: f32) {
        if largest <= self.limit {
            return;
        }
        let wanted = power_of_two_above(largest);
        if self.limit == 0.0 {
            // Zeros are in the bin that begins at zero, whatever the limit.
            self.limit = wanted;
            return;
        }
        while self.limit < wanted {
            let mut merged = vec![0u64; N_BINS];
            for (bin, count) in self.counts.iter().enumerate() {
                merged[HALF / 2 + bin / 2] += count;
            }
            self.counts = merged;
            self.limit *= 2.0;
        }
    }

    /// How many numbers there are.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The width of a bin.
    pub fn width(&self) -> f64 {
        f64::from(self.limit) / HALF as f64
    }

    /// The bins that are not empty: their middles and counts, in order.
    pub fn filled(&self) -> impl Iterator<Item = (f64, u64)> {
        let width = self.width();
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(move |(bin, count)| ((bin as f64 - HALF as f64 + 0.5) * width, *count))
    }
}

/// The least power of two that is not below a positive number.
fn power_of_two_above(number: f32) -> f32 {
    let mut power = 2f64.powi(f64::from(number).log2().ceil() as i32);
    if power < f64::from(number) {
        power *= 2.0;
    }
    // Past the largest power that float has, the largest numbers fall into the last bin.
    power.clamp(f64::from(f32::MIN_POSITIVE), 2f64.powi(127)) as f32
}
