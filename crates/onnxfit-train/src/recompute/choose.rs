//! Which cuts to make.
//!
//! On a chain the choice is exact under its model of memory (what crosses the cuts plus the largest
//! segment): for every bound on the segments a dynamic program finds the cheapest cuts. Where
//! branches cross, the same search runs over the places where few values cross.

use onnxfit_base::Bytes;

use crate::recompute::cuts::Forward;

/// What is wanted of recomputing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// As little memory as possible.
    Smallest,
    /// As few segments as keep the activations within this.
    Within(Bytes),
}

/// Places considered; a longer line is thinned out evenly.
const N_CANDIDATES_MAX: usize = 256;
/// Bounds on the largest segment that are tried.
const N_BOUNDS_MAX: usize = 64;

/// The best cuts, in order; `None` if the line is best left whole.
pub(super) fn choose(forward: &Forward, wanted: Recompute) -> Option<Vec<usize>> {
    let all = forward.candidates();
    let step = all.len().div_ceil(N_CANDIDATES_MAX).max(1);
    let candidates: Vec<usize> = all.into_iter().step_by(step).collect();
    let sums = forward.read_back_bytes_before();
    let total = *sums.last()?;
    let whole = forward.kept_bytes();
    if candidates.is_empty() || total == 0 || matches!(wanted, Recompute::Within(limit) if whole <= limit.get()) {
        return None;
    }
    let mut best: Option<(u64, Vec<usize>)> = None;
    for bound in 1..=N_BOUNDS_MAX as u64 {
        let segment_bytes_max = total / N_BOUNDS_MAX as u64 * bound;
        let Some(cuts) = cheapest(forward, &candidates, &sums, segment_bytes_max) else { continue };
        if cuts.is_empty() {
            continue;
        }
        let peak = forward.peak_bytes(&cuts);
        let is_better = match (&best, wanted) {
            (None, _) => true,
            (Some((before, _)), Recompute::Smallest) => peak < *before,
            // Among those that fit, fewer cuts mean fewer nodes waiting; of the others, the smallest.
            (Some((before, known)), Recompute::Within(limit)) => {
                let (fits, fitted) = (peak <= limit.get(), *before <= limit.get());
                (fits && !fitted) || (fits == fitted && if fits { cuts.len() < known.len() } else { peak < *before })
            }
        };
        if is_better {
            best = Some((peak, cuts));
        }
    }
    best.filter(|(peak, _)| *peak < whole).map(|(_, cuts)| cuts)
}

/// The cuts with the fewest bytes crossing them, such that no segment holds more than a bound.
fn cheapest(forward: &Forward, candidates: &[usize], sums: &[u64], segment_bytes_max: u64) -> Option<Vec<usize>> {
    let n = candidates.len();
    let end = sums.len() - 1;
    let boundary = |at: usize| if at == n { end } else { candidates[at] + 1 };
    // cost[k]: the fewest bytes crossing, with a cut at candidate k (or the end) and all before it.
    let mut cost: Vec<Option<(u64, Option<usize>)>> = vec![None; n + 1];
    for at in 0..=n {
        let own = if at == n { 0 } else { forward.crossing_bytes(candidates[at]) };
        let reach = |from: usize| sums[boundary(at)].saturating_sub(sums[from]).saturating_sub(own);
        let mut found = (reach(0) <= segment_bytes_max).then_some((own, None));
        for (before, known) in cost[..at].iter().enumerate() {
            let Some((so_far, _)) = *known else { continue };
            if reach(boundary(before)) <= segment_bytes_max {
                let sum = so_far + own;
                if found.is_none_or(|(known, _)| sum < known) {
                    found = Some((sum, Some(before)));
                }
            }
        }
        cost[at] = found;
    }
    let mut cuts = Vec::new();
    let mut at = cost[n]?.1;
    while let Some(candidate) = at {
        cuts.push(candidates[candidate]);
        at = cost[candidate].and_then(|(_, before)| before);
    }
    cuts.reverse();
    Some(cuts)
}
