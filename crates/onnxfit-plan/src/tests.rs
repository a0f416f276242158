use std::convert::Infallible;

use onnxfit_base::Bytes;
use proptest::prelude::*;

use crate::{Band, Fit, Goal, Judged, Oracle, Plan, Point, Precision, Prefer, StopReason, search};

/// A card of `budget`, weights `w`, `a` per row; patterns double the activations, powers of two
/// cost a quarter more, and half precision halves everything.
struct Formula {
    budget: u64,
    weights: u64,
    per_row: u64,
    batch: u64,
    n_asked: usize,
}

impl Formula {
    fn peak(&self, point: &Point) -> u64 {
        let rows = point.micro_batch.unwrap_or(self.batch);
        let mut peak = self.weights + self.per_row * rows * if point.levers.mem_pattern { 2 } else { 1 };
        if !point.levers.same_as_requested {
            peak += peak / 4;
        }
        match point.precision {
            Precision::Original => peak,
            Precision::Half => peak.div_ceil(2),
            Precision::Weights8 => peak - 3 * self.weights / 4,
            Precision::Weights4 => peak - 7 * self.weights / 8,
        }
    }
}

impl Oracle for Formula {
    type Error = Infallible;

    fn judge(&mut self, point: Point) -> Result<Judged, Infallible> {
        self.n_asked += 1;
        let peak = self.peak(&point);
        let fit = if peak <= self.budget { Fit::Fits } else { Fit::DoesNotFit };
        let expected = Bytes(peak);
        Ok(Judged { point, peak: Band { low: expected, expected, high: expected }, held: expected, fit })
    }
}

fn plan(budget: u64, weights: u64, per_row: u64, batch: u64, goal: Goal) -> (Plan, Formula) {
    let mut formula = Formula { budget, weights, per_row, batch, n_asked: 0 };
    let plan = search(&goal, &mut formula).unwrap();
    (plan, formula)
}

fn goal(batch: u64) -> Goal {
    Goal {
        batch: Some(batch),
        may_halve: true,
        may_round_weights: false,
        half_is_fast: true,
        device_allocator: true,
        prefer: Prefer::Exact,
    }
}

#[test]
fn what_fits_is_left_alone() {
    let (plan, _) = plan(1000, 100, 10, 8, goal(8));
    assert_eq!(plan.stop, StopReason::FitsAlready);
    assert_eq!(plan.chosen.unwrap().point, Point::default());
}

#[test]
fn integer_weights_are_the_last_resort_and_four_bits_come_after_eight() {
    let goal = Goal { may_round_weights: true, ..goal(1) };
    for (budget, precision) in
        [(1500, Precision::Original), (600, Precision::Half), (480, Precision::Weights8), (250, Precision::Weights4)]
    {
        let (plan, _) = plan(budget, 1000, 10, 1, goal);
        assert_eq!(plan.chosen.unwrap().point.precision, precision, "{budget}");
        let is_rounded = matches!(precision, Precision::Weights8 | Precision::Weights4);
        assert_eq!(plan.stop == StopReason::RoundedWeightsSuffice, is_rounded);
    }
    let (plan, _) = plan(300, 1000, 10, 1, Goal { may_round_weights: false, ..goal });
    assert!(plan.chosen.is_none());
}

#[test]
fn settings_come_before_splitting() {
    let (plan, _) = plan(200, 100, 10, 8, goal(8));
    assert_eq!(plan.stop, StopReason::SettingsSuffice);
    let chosen = plan.chosen.unwrap().point;
    assert_eq!((chosen.micro_batch, chosen.precision), (None, Precision::Original));
    assert!(!chosen.levers.mem_pattern);
}

#[test]
fn splitting_comes_before_fewer_bits_and_pieces_are_even() {
    let (plan, _) = plan(160, 100, 10, 16, goal(16));
    assert_eq!(plan.stop, StopReason::SplittingSuffices);
    // Six rows fit at once; three runs are needed, so their size is 6, 6, 4; never 6, 6, 3, 1.
    assert_eq!(plan.chosen.unwrap().point.micro_batch, Some(6));
}

#[test]
fn speed_prefers_half_precision_over_splitting() {
    let prefers = Goal { prefer: Prefer::Speed, ..goal(16) };
    let (plan, _) = plan(160, 100, 10, 16, prefers);
    assert_eq!(plan.stop, StopReason::HalfSuffices);
    assert_eq!(plan.chosen.unwrap().point.micro_batch, None);
}

#[test]
fn half_precision_is_the_last_resort_of_exactness() {
    let (plan, _) = plan(60, 100, 10, 16, goal(16));
    assert_eq!(plan.stop, StopReason::HalfSuffices);
}

#[test]
fn says_plainly_when_nothing_is_enough() {
    let (plan, _) = plan(40, 100, 10, 16, goal(16));
    assert_eq!((plan.stop, plan.chosen), (StopReason::NothingAllowedSuffices, None));
    let no_split = Goal { batch: None, may_halve: false, ..goal(16) };
    assert_eq!(self::plan(40, 100, 10, 16, no_split).0.stop, StopReason::CannotSplit);
}

proptest! {
    #[test]
    fn the_pieces_are_as_few_as_an_exhaustive_search_finds(
        budget in 1u64..5000, weights in 0u64..2000, per_row in 1u64..200, batch in 1u64..300
    ) {
        let exact = Goal { may_halve: false, ..goal(batch) };
        let (plan, formula) = plan(budget, weights, per_row, batch, exact);
        prop_assert!(formula.n_asked < 200, "{} questions", formula.n_asked);
        let fits = |rows: u64| {
            crate::Levers::all(true).into_iter().any(|levers| {
                formula.peak(&Point { precision: Precision::Original, levers, micro_batch: Some(rows) }) <= budget
            })
        };
        let best = (1..=batch).filter(|rows| fits(*rows)).max();
        let runs = plan.chosen.map(|chosen| batch.div_ceil(chosen.point.micro_batch.unwrap_or(batch)));
        prop_assert_eq!(runs, best.map(|rows| batch.div_ceil(rows)));
        if let Some(chosen) = plan.chosen {
            prop_assert!(chosen.peak.high.get() <= budget);
        }
    }
}

/// A formula whose arena takes nothing on top once its first region is told.
struct Told(Formula);

impl Oracle for Told {
    type Error = Infallible;

    fn judge(&mut self, point: Point) -> Result<Judged, Infallible> {
        let levers = crate::Levers { same_as_requested: true, ..point.levers };
        let same = Point { levers, ..point };
        let told = point.levers.initial_chunk.is_some() && !point.levers.mem_pattern;
        let judged = self.0.judge(if told { same } else { point })?;
        let expected = if told { Bytes(judged.peak.expected.get() - 1) } else { judged.peak.expected };
        let fit = if expected.get() <= self.0.budget { Fit::Fits } else { Fit::DoesNotFit };
        Ok(Judged { point, peak: Band { low: expected, expected, high: expected }, held: expected, fit })
    }

    fn first_regions(&mut self, _: Point) -> Result<Vec<Bytes>, Infallible> {
        Ok(vec![Bytes(4096)])
    }
}

#[test]
fn sizes_of_the_arena_are_tried_once_no_switch_is_enough() {
    let formula = |budget| Told(Formula { budget, weights: 100, per_row: 10, batch: 8, n_asked: 0 });
    let levers = |budget| search(&goal(8), &mut formula(budget)).unwrap().chosen.unwrap().point.levers;
    assert_eq!(levers(180).initial_chunk, None);
    let found = levers(179);
    assert_eq!((found.initial_chunk, found.mem_pattern), (Some(Bytes(4096)), false));
}
