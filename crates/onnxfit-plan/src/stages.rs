//! Where to cut a chain of steps: stages of even size, and little that goes between them.
//!
//! First the smallest possible largest stage, then among all cuts that stay near it the ones with the
//! least traffic; both by dynamic programming over a bounded number of places. The sizes are an
//! estimate; [`balance`] moves the cuts afterwards by what an oracle says of real stages.

use onnxfit_base::Bytes;

/// What is known of each step of a chain.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// The weights that each step reads, by number.
    pub weights: Vec<Vec<usize>>,
    /// How large each weight is.
    pub weight_bytes: Vec<Bytes>,
    /// What is alive at each step besides weights.
    pub live_bytes: Vec<Bytes>,
    /// What would cross a cut before each step; `None` where none may be.
    pub crossing_bytes: Vec<Option<Bytes>>,
}

/// How a chain may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// The positions before which is cut, ascending.
    pub positions: Vec<usize>,
    /// All positions that were weighed.
    pub candidates: Vec<usize>,
}

/// The cut into so many stages; `None` if there are not enough places for it.
pub fn cut(steps: &Steps, n_stages: usize) -> Option<Cuts> {
    let n_steps = steps.live_bytes.len();
    if n_stages < 2 || n_steps < n_stages {
        return None;
    }
    let candidates = candidates(steps);
    if candidates.len() + 1 < n_stages {
        return None;
    }
    let mut places = vec![0];
    places.extend(&candidates);
    places.push(n_steps);
    let peaks = stage_peaks(steps, &places);
    let n_places = places.len();
    let largest = fewest(n_places, n_stages, |from, to| Some(peaks[from][to]), u64::max)?;
    let bound = largest.0.saturating_add(largest.0 / SLACK_SHARE);
    let traffic = |from: usize, to: usize| {
        let crossing = if from == 0 { Some(Bytes::ZERO) } else { steps.crossing_bytes[places[from]] };
        (peaks[from][to] <= bound).then_some(crossing?.get())
    };
    let (_, chosen) = fewest(n_places, n_stages, traffic, u64::saturating_add)?;
    Some(Cuts { positions: chosen.iter().map(|place| places[*place]).collect(), candidates })
}

/// Moves cuts so that the largest stage becomes smaller, as long as that helps; `size` says what the
/// steps from one position to another take as a stage.
///
/// Asks at most a few dozen times.
pub fn balance<E>(
    cuts: &Cuts,
    n_steps: usize,
    mut size: impl FnMut(usize, usize) -> Result<Bytes, E>,
) -> Result<Vec<usize>, E> {
    let mut positions = cuts.positions.clone();
    let mut sizes = Vec::new();
    let bounds = |positions: &[usize], stage: usize| {
        let from = if stage == 0 { 0 } else { positions[stage - 1] };
        (from, positions.get(stage).copied().unwrap_or(n_steps))
    };
    for stage in 0..=positions.len() {
        let (from, to) = bounds(&positions, stage);
        sizes.push(size(from, to)?);
    }
    let mut n_asked = sizes.len();
    let mut stride = (cuts.candidates.len() / 8).max(1);
    while n_asked < ASKED_MAX {
        let worst = (0..sizes.len()).max_by_key(|stage| (sizes[*stage], usize::MAX - stage)).unwrap_or_default();
        let mut moved = false;
        // The stage gives steps to the neighbour that has more room.
        let mut sides: Vec<(usize, bool)> = Vec::new();
        if worst > 0 {
            sides.push((worst - 1, true));
        }
        if worst < positions.len() {
            sides.push((worst, false));
        }
        sides.sort_by_key(|(cut, forward)| if *forward { sizes[*cut] } else { sizes[*cut + 1] });
        for (cut, forward) in sides {
            let Some(there) = beside(&cuts.candidates, positions[cut], stride, forward) else { continue };
            let mut tried = positions.clone();
            tried[cut] = there;
            let is_ordered = tried.windows(2).all(|pair| pair[0] < pair[1]) && there > 0 && there < n_steps;
            if !is_ordered {
                continue;
            }
            let (left, right) = (bounds(&tried, cut), bounds(&tried, cut + 1));
            let (left, right) = (size(left.0, left.1)?, size(right.0, right.1)?);
            n_asked += 2;
            if left.max(right) < sizes[worst] {
                (sizes[cut], sizes[cut + 1]) = (left, right);
                positions = tried;
                moved = true;
                break;
            }
        }
        if !moved && stride == 1 {
            break;
        }
        if !moved {
            stride /= 2;
        }
    }
    Ok(positions)
}

/// The place so many candidates further on.
fn beside(candidates: &[usize], position: usize, stride: usize, forward: bool) -> Option<usize> {
    let at = candidates.binary_search(&position).ok()?;
    let there = if forward { at.checked_add(stride) } else { at.checked_sub(stride) };
    candidates.get(there?).copied()
}

/// The places worth a cut: all there are, or the one with the least traffic in each of many windows.
fn candidates(steps: &Steps) -> Vec<usize> {
    let n_steps = steps.crossing_bytes.len();
    let window = n_steps.div_ceil(CANDIDATES_MAX).max(1);
    let mut found = Vec::new();
    for from in (1..n_steps).step_by(window) {
        let inside = from..(from + window).min(n_steps);
        let allowed = inside.filter_map(|at| steps.crossing_bytes[at].map(|bytes| (bytes, at)));
        found.extend(allowed.min().map(|(_, at)| at));
    }
    found
}

/// An estimate of what the steps between any two places take: their weights, each once, and the most
/// that is alive.
fn stage_peaks(steps: &Steps, places: &[usize]) -> Vec<Vec<u64>> {
    let mut last_read = vec![usize::MAX; steps.weight_bytes.len()];
    places
        .iter()
        .enumerate()
        .map(|(from, start)| {
            let mut peaks = vec![0; places.len()];
            let (mut weights, mut live) = (0u64, 0u64);
            for to in from + 1..places.len() {
                for at in places[to - 1]..places[to] {
                    live = live.max(steps.live_bytes[at].get());
                    for weight in &steps.weights[at] {
                        if std::mem::replace(&mut last_read[*weight], *start) != *start {
                            weights = weights.saturating_add(steps.weight_bytes[*weight].get());
                        }
                    }
                }
                peaks[to] = weights.saturating_add(live);
            }
            peaks
        })
        .collect()
}

/// The cheapest way from the first place to the last in so many stages: its cost and the places
/// between.
fn fewest(
    n_places: usize,
    n_stages: usize,
    cost: impl Fn(usize, usize) -> Option<u64>,
    join: fn(u64, u64) -> u64,
) -> Option<(u64, Vec<usize>)> {
    let mut best: Vec<Vec<Option<(u64, usize)>>> = vec![vec![None; n_places]; n_stages + 1];
    best[0][0] = Some((0, 0));
    for stage in 1..=n_stages {
        for to in stage..n_places {
            let ways = (stage - 1..to).filter_map(|from| {
                let (so_far, _) = best[stage - 1][from]?;
                Some((join(so_far, cost(from, to)?), from))
            });
            best[stage][to] = ways.min();
        }
    }
    let (total, _) = best[n_stages][n_places - 1]?;
    let mut chosen = Vec::new();
    let mut at = n_places - 1;
    for stage in (1..=n_stages).rev() {
        let (_, from) = best[stage][at]?;
        if stage > 1 {
            chosen.push(from);
        }
        at = from;
    }
    chosen.reverse();
    Some((total, chosen))
}

/// Places that are weighed at most.
const CANDIDATES_MAX: usize = 256;
/// Stages may be larger than need be by one part in so many, if that spares traffic.
const SLACK_SHARE: u64 = 10;
/// Stages that an oracle is asked about at most.
const ASKED_MAX: usize = 40;

#[cfg(test)]
mod tests;
