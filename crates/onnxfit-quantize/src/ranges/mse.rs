//! The range with the least mean squared error of what comes back.

use super::{Histogram, Range};

/// Shrunk in so many steps, each end in turn.
const N_STEPS: usize = 40;
/// The ends are moved in turn so many times.
const N_TURNS: usize = 3;

pub(super) fn range(histogram: &Histogram, whole: Range, n_levels: usize) -> Range {
    let mut best = whole;
    let mut least = error(histogram, whole, n_levels);
    for turn in 0..N_TURNS {
        let before = best;
        for end in [End::Both, End::Lowest, End::Highest] {
            let start = if turn == 0 { whole } else { best };
            for step in 1..N_STEPS {
                let share = step as f32 / N_STEPS as f32;
                let candidate = end.shrunk(start, best, share);
                let candidate_error = error(histogram, candidate, n_levels);
                if candidate_error < least {
                    (best, least) = (candidate, candidate_error);
                }
            }
        }
        if best == before {
            break;
        }
    }
    best
}

#[derive(Clone, Copy)]
enum End {
    Both,
    Lowest,
    Highest,
}

impl End {
    fn shrunk(self, start: Range, best: Range, share: f32) -> Range {
        match self {
            Self::Both => Range { lowest: start.lowest * share, highest: start.highest * share },
            Self::Lowest => Range { lowest: start.lowest * share, ..best },
            Self::Highest => Range { highest: start.highest * share, ..best },
        }
    }
}

/// The sum of squared errors when the numbers go through `n_levels` integers of this range.
fn error(histogram: &Histogram, range: Range, n_levels: usize) -> f64 {
    let (lowest, highest) = (f64::from(range.lowest.min(0.0)), f64::from(range.highest.max(0.0)));
    let step = (highest - lowest) / (n_levels.max(2) - 1) as f64;
    let rounding = step * step / 12.0;
    let width = histogram.width();
    let of_bin = |(middle, count): (f64, u64)| {
        let distance = if middle < lowest {
            lowest - middle
        } else if middle > highest {
            middle - highest
        } else if step <= width {
            0.0
        } else {
            return count as f64 * rounding;
        };
        count as f64 * (distance * distance).max(if distance == 0.0 { rounding } else { 0.0 })
    };
    histogram.filled().map(of_bin).sum()
}
