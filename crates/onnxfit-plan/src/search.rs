//! The search: settings, then a smaller batch, then fewer bits.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;

use crate::point::{Fit, Judged, Levers, Point, Precision};

/// Says what a point takes; the memory twin, in the product.
pub trait Oracle {
    /// Why it cannot say.
    type Error;

    /// Judges one point.
    fn judge(&mut self, point: Point) -> Result<Judged, Self::Error>;

    /// Sizes of an arena's first region that are worth a try with this point; none where the arena
    /// cannot be told.
    fn first_regions(&mut self, _: Point) -> Result<Vec<Bytes>, Self::Error> {
        Ok(Vec::new())
    }

    /// Whether there is a model that computes with these numbers.
    fn has(&mut self, _: Precision) -> bool {
        true
    }

    /// How long a request takes at this point, by an estimate; `None` where nothing is known of the card.
    fn microseconds(&mut self, _: Point) -> Option<u64> {
        None
    }
}

/// What the user would rather keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Every answer as it was: approximate changes only when no exact one is enough.
    #[default]
    Exact,
    /// Speed: what takes the shortest by the oracle's estimate; where it has none, half precision before
    /// splitting the batch, if the GPU has units for it.
    Speed,
    /// Money: whatever keeps the request on this target, exact or not.
    Cost,
}

/// What is asked and what is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Rows of the request, when a batch dimension is known and the model may be split along it.
    pub batch: Option<u64>,
    /// Whether half precision may be proposed at all.
    pub may_halve: bool,
    /// Whether the target computes in bfloat16 (compute capability 8.0).
    pub may_use_bfloat16: bool,
    /// Whether weights may be kept as integers where nothing else is enough.
    pub may_round_weights: bool,
    /// Whether weights are most of what the model takes: then integers are weighed beside half precision, not
    /// only where nothing else is enough.
    pub weights_dominate: bool,
    /// Whether the target computes half precision faster than single (compute capability 7.0).
    pub half_is_fast: bool,
    /// Whether weights can bypass the arena (the CUDA provider).
    pub device_allocator: bool,
    /// What to keep.
    pub prefer: Prefer,
}

/// Why the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It fits as it is.
    FitsAlready,
    /// Session settings alone are enough.
    SettingsSuffice,
    /// Splitting the batch is enough.
    SplittingSuffices,
    /// Half precision is needed, or was preferred.
    HalfSuffices,
    /// Weights have to be integers.
    RoundedWeightsSuffice,
    /// Only a plan inside the prediction's band was found.
    OnlyTight,
    /// Not even a single row fits with all that is allowed.
    NothingAllowedSuffices,
    /// The model may not be split along its batch, and nothing else is enough.
    CannotSplit,
}

impl StopReason {
    /// The reason as a sentence part.
    pub const fn text(self) -> &'static str {
        match self {
            Self::FitsAlready => "it fits as it is",
            Self::SettingsSuffice => "session settings alone are enough",
            Self::SplittingSuffices => "the batch in pieces is enough, and every answer stays as it was",
            Self::HalfSuffices => "half precision is enough",
            Self::RoundedWeightsSuffice => "nothing less than integer weights is enough",
            Self::OnlyTight => "nothing fits for certain; the best plan lies inside the prediction's band",
            Self::NothingAllowedSuffices => "not even a single row fits with every change that is allowed",
            Self::CannotSplit => "session settings are not enough, and the batch cannot be split",
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The model as it is.
    pub before: Judged,
    /// The plan; `None` when nothing allowed is enough.
    pub chosen: Option<Judged>,
    /// The best of each other kind, best first.
    pub alternatives: Vec<Judged>,
    /// Why the search ended.
    pub stop: StopReason,
}

/// Finds a plan. The oracle is asked at most a few hundred times.
pub fn search<O: Oracle>(goal: &Goal, oracle: &mut O) -> Result<Plan, O::Error> {
    let before = oracle.judge(Point::default())?;
    let mut found: Vec<Judged> = Vec::new();
    let mut could_split = false;
    let mut try_precision = |precision: Precision, found: &mut Vec<Judged>| {
        if !oracle.has(precision) {
            return Ok(());
        }
        let whole = best_settings(oracle, precision, None, goal)?;
        let fits_whole = whole.fit == Fit::Fits;
        found.push(whole);
        // Splitting what fits whole only costs time.
        if let (false, Some(batch)) = (fits_whole, goal.batch.filter(|batch| *batch > 1)) {
            could_split = true;
            found.extend(largest_pieces(oracle, precision, batch, goal)?);
        }
        Ok(())
    };
    try_precision(Precision::Original, &mut found)?;
    if goal.may_halve {
        try_precision(Precision::Half, &mut found)?;
    }
    let fits = |found: &[Judged]| found.iter().any(|judged| judged.fit == Fit::Fits);
    let fits_whole = |found: &[Judged], precision: Precision| {
        let mut of = found.iter().filter(|judged| judged.point.precision == precision);
        of.any(|judged| judged.fit == Fit::Fits && judged.point.micro_batch.is_none())
    };
    // Fewer bits than float16 has: only where that is not enough, or cannot be had.
    if goal.may_use_bfloat16 && !fits_whole(&found, Precision::Original) && !fits_whole(&found, Precision::Half) {
        try_precision(Precision::Bfloat16, &mut found)?;
    }
    // The last resort, for it moves the answers most, the fewest bits last; where weights are most of what
    // is taken, a choice like others.
    let is_choice = goal.weights_dominate && before.fit != Fit::Fits;
    for precision in [Precision::Weights8, Precision::Weights4] {
        let is_choice = is_choice && precision == Precision::Weights8;
        if goal.may_round_weights && (is_choice || !fits(&found)) {
            try_precision(precision, &mut found)?;
        }
    }
    if before.fit == Fit::Fits {
        found.retain(|judged| judged.point != before.point);
        rank(&mut found, goal, oracle);
        return Ok(Plan { before, chosen: Some(before), alternatives: found, stop: StopReason::FitsAlready });
    }
    rank(&mut found, goal, oracle);
    let chosen = found.iter().position(|judged| judged.fit != Fit::DoesNotFit).map(|index| found.remove(index));
    let stop = match &chosen {
        Some(judged) if judged.fit == Fit::Tight => StopReason::OnlyTight,
        Some(judged) if judged.point.precision.is_half() => StopReason::HalfSuffices,
        Some(judged) if !judged.point.precision.is_exact() => StopReason::RoundedWeightsSuffice,
        Some(judged) if judged.point.micro_batch.is_some() => StopReason::SplittingSuffices,
        Some(_) => StopReason::SettingsSuffice,
        None if !could_split => StopReason::CannotSplit,
        None => StopReason::NothingAllowedSuffices,
    };
    Ok(Plan { before, chosen, alternatives: found, stop })
}

/// The settings with the best fit; among equals the lowest peak, then the fewest changes.
fn best_settings<O: Oracle>(
    oracle: &mut O,
    precision: Precision,
    micro_batch: Option<u64>,
    goal: &Goal,
) -> Result<Judged, O::Error> {
    let mut best: Option<Judged> = None;
    for levers in Levers::all(goal.device_allocator) {
        let judged = oracle.judge(Point { precision, levers, micro_batch })?;
        // The defaults are kept when they do: a setting is changed only for a reason.
        if judged.fit == Fit::Fits && levers.n_changes() == 0 {
            return Ok(judged);
        }
        best = Some(better(best, judged));
    }
    let switched = best.expect("there is at least the default setting");
    if switched.fit == Fit::Fits || micro_batch.is_some() {
        return Ok(switched);
    }
    // Only then are sizes of the arena tried, for the whole request: they suit one and not the next.
    let mut best = switched;
    for mem_pattern in [false, true] {
        let levers = Levers { mem_pattern, same_as_requested: false, ..switched.point.levers };
        let point = Point { levers, ..switched.point };
        for chunk in oracle.first_regions(point)? {
            let levers = Levers { initial_chunk: Some(chunk), ..levers };
            best = better(Some(best), oracle.judge(Point { levers, ..point })?);
        }
    }
    Ok(best)
}

/// The one that fits better, takes less, or changes less.
fn better(best: Option<Judged>, judged: Judged) -> Judged {
    let key = |judged: &Judged| (judged.fit, judged.peak.expected, judged.point.levers.n_changes());
    best.filter(|best| key(best) <= key(&judged)).unwrap_or(judged)
}

/// The fewest, then the most even pieces of the batch that fit.
fn largest_pieces<O: Oracle>(
    oracle: &mut O,
    precision: Precision,
    batch: u64,
    goal: &Goal,
) -> Result<Option<Judged>, O::Error> {
    let smallest = best_settings(oracle, precision, Some(1), goal)?;
    if smallest.fit != Fit::Fits {
        return Ok(Some(smallest));
    }
    // More rows never take less, but for the arena's steps; the result is judged itself, so a
    // step only costs a piece, never a wrong answer.
    let (mut fits, mut fails) = (1, batch);
    let mut best = smallest;
    while fails - fits > 1 {
        let middle = fits + (fails - fits) / 2;
        let judged = best_settings(oracle, precision, Some(middle), goal)?;
        if judged.fit == Fit::Fits {
            (fits, best) = (middle, judged);
        } else {
            fails = middle;
        }
    }
    // As many runs, but of even size: the last one is not a scrap.
    let even = batch.div_ceil(batch.div_ceil(fits));
    if even < fits {
        let judged = best_settings(oracle, precision, Some(even), goal)?;
        if judged.fit == Fit::Fits {
            best = judged;
        }
    }
    Ok(Some(best))
}

/// Best first, by what the user would rather keep.
fn rank<O: Oracle>(found: &mut [Judged], goal: &Goal, oracle: &mut O) {
    let estimates: Option<BTreeMap<Point, u64>> = match goal.prefer {
        Prefer::Speed => found.iter().map(|judged| Some((judged.point, oracle.microseconds(judged.point)?))).collect(),
        Prefer::Exact | Prefer::Cost => None,
    };
    let n_runs = |judged: &Judged| match (judged.point.micro_batch, goal.batch) {
        (Some(rows), Some(batch)) => batch.div_ceil(rows),
        _ => 1,
    };
    // How far answers may move.
    let loss = |judged: &Judged| judged.point.precision as u64;
    let is_half = |judged: &Judged| judged.point.precision.is_half();
    found.sort_by_key(|judged| {
        let estimate = estimates.as_ref().and_then(|known| known.get(&judged.point)).copied();
        let cost = match goal.prefer {
            Prefer::Speed if estimate.is_some() => (estimate.unwrap_or_default(), 0),
            Prefer::Exact => (loss(judged), n_runs(judged)),
            Prefer::Speed if goal.half_is_fast => (u64::from(!is_half(judged)), n_runs(judged)),
            Prefer::Speed => (0, n_runs(judged)),
            Prefer::Cost => (0, n_runs(judged) * 2 + loss(judged)),
        };
        (judged.fit, cost.0, cost.1, loss(judged), judged.point.levers.n_changes(), judged.peak.expected)
    });
}
