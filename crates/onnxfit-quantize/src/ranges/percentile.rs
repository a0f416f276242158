//! The range that leaves out the rarest numbers of both ends.

use super::{Histogram, Range};

/// Leaves out half of `100 - percent` at each end (as `PercentileCalibrater`, ORT 1.31).
pub(super) fn range(histogram: &Histogram, whole: Range, percent: f64) -> Range {
    let total = histogram.total() as f64;
    let outside = total * ((100.0 - percent.clamp(0.0, 100.0)) / 200.0);
    let width = histogram.width();
    let (mut below, mut range) = (0.0, whole);
    let mut found_lowest = false;
    for (middle, count) in histogram.filled() {
        let (count, start) = (count as f64, middle - width / 2.0);
        // Inside a bin numbers are taken to be spread evenly.
        if !found_lowest && below + count > outside {
            range.lowest = (start + width * (outside - below) / count) as f32;
            found_lowest = true;
        }
        if below + count >= total - outside {
            range.highest = (start + width * (total - outside - below) / count) as f32;
            return range;
        }
        below += count;
    }
    range
}
