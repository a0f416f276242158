//! Ranges of values, found from a stream of samples.
//!
//! What is remembered of a value does not grow with the samples: extremes, their sums, and a
//! histogram of a fixed number of bins whose limit doubles when a number is past it. Limits are
//! powers of two, so bins nest: the order of the samples does not matter, and ranges that were
//! interrupted go on from [`Observers::to_bytes`].

mod entropy;
mod histogram;
mod mse;
mod observers;
mod percentile;

pub use entropy::divergence;
pub use histogram::{Histogram, N_BINS};
pub use observers::{Observers, StateError};

/// How a range is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The least and the greatest number.
    MinMax,
    /// The means over samples of the least and of the greatest number.
    MeanMinMax,
    /// The range whose quantized distribution is nearest to the true one.
    Entropy,
    /// The range that leaves out this percentage of numbers (such as 99.999).
    Percentile(f64),
    /// The range with the least mean squared error.
    MeanSquare,
}

impl Method {
    /// Whether extremes are not enough.
    pub const fn needs_histogram(self) -> bool {
        !matches!(self, Self::MinMax | Self::MeanMinMax)
    }
}

/// From where to where the numbers of a value go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// The least.
    pub lowest: f32,
    /// The greatest.
    pub highest: f32,
}

/// What was seen of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Observer {
    pub(crate) lowest: f32,
    pub(crate) highest: f32,
    pub(crate) sum_lowest: f64,
    pub(crate) sum_highest: f64,
    pub(crate) n_samples: u64,
    pub(crate) n_not_finite: u64,
    pub(crate) histogram: Option<Histogram>,
}

impl Observer {
    /// Has seen nothing yet.
    pub fn new(method: Method) -> Self {
        Self {
            lowest: f32::INFINITY,
            highest: f32::NEG_INFINITY,
            sum_lowest: 0.0,
            sum_highest: 0.0,
            n_samples: 0,
            n_not_finite: 0,
            histogram: method.needs_histogram().then(Histogram::new),
        }
    }

    /// Takes in what the value was for one sample; NaN and infinite numbers are counted and left
    /// out.
    pub fn observe(&mut self, numbers: &[f32]) {
        let (lowest, highest, n_finite) = extremes(numbers);
        self.n_not_finite += (numbers.len() - n_finite) as u64;
        if n_finite == 0 {
            return;
        }
        self.lowest = self.lowest.min(lowest);
        self.highest = self.highest.max(highest);
        self.sum_lowest += f64::from(lowest);
        self.sum_highest += f64::from(highest);
        self.n_samples += 1;
        if let Some(histogram) = &mut self.histogram {
            histogram.add(numbers, lowest.abs().max(highest.abs()));
        }
    }

    /// Samples in which the value had a finite number.
    pub fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// Numbers that were NaN or infinite.
    pub fn n_not_finite(&self) -> u64 {
        self.n_not_finite
    }

    /// The numbers by size, if the method asked for them.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.as_ref()
    }

    /// The range, for integers of `n_levels`; `None` if no finite number was seen.
    pub fn range(&self, method: Method, n_levels: usize) -> Option<Range> {
        if self.n_samples == 0 {
            return None;
        }
        let whole = Range { lowest: self.lowest, highest: self.highest };
        let mean = |sum: f64| (sum / self.n_samples as f64) as f32;
        let range = match (method, &self.histogram) {
            (Method::MeanMinMax, _) => Range { lowest: mean(self.sum_lowest), highest: mean(self.sum_highest) },
            (Method::MinMax, _) | (_, None) => whole,
            (Method::Entropy, Some(histogram)) => entropy::range(histogram, whole, n_levels),
            (Method::Percentile(percent), Some(histogram)) => percentile::range(histogram, whole, percent),
            (Method::MeanSquare, Some(histogram)) => mse::range(histogram, whole, n_levels),
        };
        // A histogram knows numbers by its bins only.
        Some(Range { lowest: range.lowest.max(whole.lowest), highest: range.highest.min(whole.highest) })
    }
}

/// The least and the greatest of the finite numbers, and how many of those there are.
fn extremes(numbers: &[f32]) -> (f32, f32, usize) {
    const N_LANES: usize = 16;
    let (mut lowest, mut highest) = ([f32::INFINITY; N_LANES], [f32::NEG_INFINITY; N_LANES]);
    // Zero times a number is zero, unless the number is none.
    let mut is_odd = [0.0f32; N_LANES];
    let (chunks, rest) = numbers.as_chunks::<N_LANES>();
    for chunk in chunks {
        for lane in 0..N_LANES {
            let number = chunk[lane];
            lowest[lane] = if number < lowest[lane] { number } else { lowest[lane] };
            highest[lane] = if number > highest[lane] { number } else { highest[lane] };
            is_odd[lane] += number * 0.0;
        }
    }
    if is_odd.iter().any(|lane| *lane != 0.0) || rest.iter().any(|number| !number.is_finite()) {
        let finite = || numbers.iter().copied().filter(|number| number.is_finite());
        return (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max), finite().count());
    }
    let lowest = lowest.iter().chain(rest).copied().fold(f32::INFINITY, f32::min);
    let highest = highest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    (lowest, highest, numbers.len())
}

#[cfg(test)]
mod tests;
