//! Why each kind of change was taken or not.

use crate::point::{Fit, Judged, Point, Precision};
use crate::search::{Goal, Plan};

/// What became of one kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is part of the plan.
    Taken,
    /// It could be had, but another plan is better, or none is needed.
    NotTaken,
    /// It is not enough.
    NotEnough,
    /// It cannot be had here.
    NotPossible,
}

/// One kind of change, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What would be changed.
    pub change: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: String,
}

/// A kind of change that cannot be had, and why not.
pub type Refused = (&'static str, String);

/// Accounts for every kind of change, those that move answers least first; `refused` are those that the
/// search was not allowed, and others that nobody makes here.
pub fn account(plan: &Plan, goal: &Goal, refused: &[Refused]) -> Vec<Account> {
    let mut accounts = Vec::new();
    let found: Vec<&Judged> = plan.chosen.iter().chain(&plan.alternatives).collect();
    let mut add = |change: &'static str, is_it: &dyn Fn(&Point) -> bool| {
        let why_not = refused.iter().find(|(refused, _)| *refused == change).map(|(_, why)| why.clone());
        let (outcome, reason) = match why_not {
            Some(why) => (Outcome::NotPossible, why),
            None => judge(plan, goal, &found, is_it),
        };
        accounts.push(Account { change, outcome, reason });
    };
    add("session settings", &|point| {
        point.levers.n_changes() > 0 && point.micro_batch.is_none() && point.precision == Precision::Original
    });
    add("the batch in pieces", &|point| point.micro_batch.is_some() && point.precision == Precision::Original);
    for precision in Precision::ALL.into_iter().filter(|precision| !precision.is_exact()) {
        add(name(precision), &move |point| point.precision == precision);
    }
    let others = refused.iter().filter(|(change, _)| accounts.iter().all(|known| known.change != *change));
    let others: Vec<Account> =
        others.map(|(change, why)| Account { change, outcome: Outcome::NotPossible, reason: why.clone() }).collect();
    accounts.extend(others);
    accounts
}

/// What a precision is called among the kinds of changes.
pub const fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Original => "as it is",
        Precision::Half => "float16",
        Precision::Bfloat16 => "bfloat16",
        Precision::Weights8 => "int8 weights",
        Precision::Weights4 => "int4 weights",
    }
}

fn judge(plan: &Plan, goal: &Goal, found: &[&Judged], is_it: &dyn Fn(&Point) -> bool) -> (Outcome, String) {
    let chosen = plan.chosen.as_ref();
    if let Some(chosen) = chosen.filter(|chosen| is_it(&chosen.point)) {
        return (Outcome::Taken, format!("{}: {}", plan.stop.text(), changes(chosen, goal)));
    }
    if chosen.is_some_and(|chosen| chosen.point == plan.before.point) {
        return (Outcome::NotTaken, "it fits as it is".to_owned());
    }
    let mut own: Vec<&&Judged> = found.iter().filter(|judged| is_it(&judged.point)).collect();
    own.sort_by_key(|judged| (judged.fit, judged.peak.expected));
    match (own.first(), chosen) {
        (Some(best), _) if best.fit == Fit::DoesNotFit => {
            (Outcome::NotEnough, format!("it would still take {}: {}", best.peak.expected, changes(best, goal)))
        }
        (Some(best), Some(chosen)) => {
            let why = match best.point.precision.cmp(&chosen.point.precision) {
                std::cmp::Ordering::Greater => "it moves the answers further than the plan does",
                std::cmp::Ordering::Equal => "the plan needs less of it",
                std::cmp::Ordering::Less => "the plan suits better what was preferred",
            };
            (Outcome::NotTaken, format!("{why}; it would take {}: {}", best.peak.expected, changes(best, goal)))
        }
        (Some(best), None) => (Outcome::NotEnough, format!("it would take {}", best.peak.expected)),
        (None, Some(_)) => (Outcome::NotTaken, "what moves the answers less is enough".to_owned()),
        (None, None) => (Outcome::NotEnough, "it changes nothing here".to_owned()),
    }
}

fn changes(judged: &Judged, goal: &Goal) -> String {
    judged.point.changes(goal.batch).join("; ")
}
