use std::convert::Infallible;

use expect_test::expect;
use onnxfit_base::Bytes;
use proptest::prelude::*;

use crate::{Band, Fit, Goal, Judged, Oracle, Plan, Point, Precision, Prefer, Refused, StopReason, account, search};

/// A card of `budget`, weights `w`, `a` per row; patterns double the activations, powers of two
/// cost a quarter more, and half precision halves everything.
struct Formula {
    budget: u64,
    weights: u64,
    per_row: u64,
    batch: u64,
    n_asked: usize,
    /// What overflows in float16 and stays.
    islands: u64,
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
            Precision::Half => (peak + self.islands).div_ceil(2),
            Precision::Bfloat16 => peak.div_ceil(2),
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

    /// As fast as weights can be read, once for each run.
    fn microseconds(&mut self, point: Point) -> Option<u64> {
        let n_runs = point.micro_batch.map_or(1, |rows| self.batch.div_ceil(rows));
        let bits = [32, 16, 16, 8, 4][point.precision as usize];
        Some(n_runs * self.weights * bits / 32)
    }
}

fn plan(budget: u64, weights: u64, per_row: u64, batch: u64, goal: Goal) -> (Plan, Formula) {
    let mut formula = Formula { budget, weights, per_row, batch, n_asked: 0, islands: 0 };
    let plan = search(&goal, &mut formula).unwrap();
    (plan, formula)
}

fn goal(batch: u64) -> Goal {
    Goal {
        batch: Some(batch),
        may_halve: true,
        may_use_bfloat16: false,
        may_round_weights: false,
        weights_dominate: false,
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
fn bfloat16_is_taken_where_float16_keeps_too_much_in_float_and_the_card_has_it() {
    let plan = |may_use_bfloat16, islands| {
        let mut formula = Formula { budget: 600, weights: 1000, per_row: 10, batch: 1, n_asked: 0, islands };
        let plan = search(&Goal { may_use_bfloat16, ..goal(1) }, &mut formula).unwrap();
        plan.chosen.map(|chosen| chosen.point.precision)
    };
    assert_eq!(plan(true, 0), Some(Precision::Half));
    assert_eq!(plan(true, 400), Some(Precision::Bfloat16));
    assert_eq!(plan(false, 400), None);
}

#[test]
fn weights_that_dominate_are_weighed_as_integers_and_are_what_speed_prefers() {
    let plan = |weights_dominate, prefer| {
        let goal = Goal { may_round_weights: true, weights_dominate, prefer, ..goal(1) };
        let (plan, _) = plan(600, 1000, 10, 1, goal);
        let others: Vec<Precision> = plan.alternatives.iter().map(|judged| judged.point.precision).collect();
        (plan.chosen.unwrap().point.precision, others.contains(&Precision::Weights8))
    };
    assert_eq!(plan(false, Prefer::Exact), (Precision::Half, false));
    assert_eq!(plan(true, Prefer::Exact), (Precision::Half, true));
    assert_eq!(plan(true, Prefer::Speed), (Precision::Weights8, false));
}

#[test]
fn every_kind_of_change_is_accounted_for() {
    let text = |budget, refused: &[Refused]| {
        let goal = Goal { may_round_weights: true, weights_dominate: true, ..goal(4) };
        let (plan, _) = plan(budget, 1000, 10, 4, goal);
        let accounts = account(&plan, &goal, refused);
        let lines = accounts.iter().map(|it| format!("{}: {:?}, {}\n", it.change, it.outcome, it.reason));
        lines.collect::<String>()
    };
    let refused =
        [("bfloat16", "needs compute capability 8.0".to_owned()), ("float8", "nothing is written in it".to_owned())];
    expect![[r#"
        session settings: NotEnough, it would still take 1.02 KiB: enable_mem_pattern = False; arena_extend_strategy = kSameAsRequested
        the batch in pieces: NotEnough, it would still take 1010 B: 4 runs of at most 1 rows instead of one of 4; enable_mem_pattern = False; arena_extend_strategy = kSameAsRequested
        float16: Taken, half precision is enough: float16 inside, inputs and outputs as they were; enable_mem_pattern = False; arena_extend_strategy = kSameAsRequested
        bfloat16: NotPossible, needs compute capability 8.0
        int8 weights: NotTaken, it moves the answers further than the plan does; it would take 290 B: weights kept as int8, computation as it was; enable_mem_pattern = False; arena_extend_strategy = kSameAsRequested
        int4 weights: NotTaken, what moves the answers less is enough
        float8: NotPossible, nothing is written in it
    "#]].assert_eq(&text(560, &refused));
    expect![[r#"
        session settings: NotTaken, it fits as it is
        the batch in pieces: NotTaken, it fits as it is
        float16: NotTaken, it fits as it is
        bfloat16: NotTaken, it fits as it is
        int8 weights: NotTaken, it fits as it is
        int4 weights: NotTaken, it fits as it is
    "#]]
    .assert_eq(&text(100_000, &[]));
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
    let formula = |budget| Told(Formula { budget, weights: 100, per_row: 10, batch: 8, n_asked: 0, islands: 0 });
    let levers = |budget| search(&goal(8), &mut formula(budget)).unwrap().chosen.unwrap().point.levers;
    assert_eq!(levers(180).initial_chunk, None);
    let found = levers(179);
    assert_eq!((found.initial_chunk, found.mem_pattern), (Some(Bytes(4096)), false));
}
