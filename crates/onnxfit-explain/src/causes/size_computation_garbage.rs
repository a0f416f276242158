//! A size that no tensor has: a computation of a convolution's workspace went wrong, most often on a card that is full or nearly so.

use crate::advice::{
    FEWER_THREADS, FREE_THE_CARD, HEURISTIC_SEARCH, LEAVE_HEADROOM, NOT_BIGGER_CARD, RESTART, UPGRADE,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "size_computation_garbage",
    meaning: "The requested size is impossible; on a convolution this happens when the search for an algorithm ran on a full card, and the wrong size is then remembered",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[LEAVE_HEADROOM, HEURISTIC_SEARCH, RESTART, FREE_THE_CARD, FEWER_THREADS, UPGRADE],
    not_helping: &[NOT_BIGGER_CARD],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    // More than 2^60 bytes is no tensor.
    let impossible =
        facts.hits.iter().find(|hit| hit.kind == Kind::OutOfMemory && hit.requested.is_some_and(|n| n > 1 << 60));
    if let Some(hit) = impossible {
        return Some(Verdict::of(if facts.on_convolution() { 96 } else { 88 }, hit));
    }
    if facts.out_of_memory().is_some() {
        return None;
    }
    let hit = facts.hit("safeint_overflow")?;
    let mut verdict = Verdict::of(if facts.on_convolution() { 78 } else { 58 }, hit);
    if facts.on_convolution() {
        verdict.add("a size overflowed at a convolution: same family as impossible sizes".to_owned());
    }
    Some(verdict)
}
