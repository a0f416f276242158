//! Memory was refused and the text does not say who holds the rest.

use crate::advice::{
    CHECK_MODEL, FEWER_THREADS, LOOK_AT_CARD, NOT_EMPTY_CACHE, NOT_SAME_AS_REQUESTED, SHARE_SESSION, SMALLER_BATCH,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "unknown_vram_exhausted",
    meaning: "Memory was refused; the text does not say who holds the rest",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[LOOK_AT_CARD, CHECK_MODEL, SMALLER_BATCH, FEWER_THREADS, SHARE_SESSION],
    not_helping: &[NOT_SAME_AS_REQUESTED, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    // A limit is not the card.
    if facts.is("bfc_available_memory") {
        return None;
    }
    if let Some(hit) = facts.out_of_memory() {
        let mut verdict = Verdict::of(41, hit);
        if facts.failing_nodes() > 1 {
            verdict.add("several nodes failed: the node changes, the cause does not".to_owned());
        }
        return Some(verdict);
    }
    if facts.has_machine_message() {
        return None;
    }
    let said = words!(
        facts,
        r"out[ -]of[ -]memory|\boom\b|fill\w* .{0,30}(?:vram|memory)|memory error|allocate memory|exhaust|ran out|vram|gpu memory|memory [^.\n]{0,30}too (?:small|little|low)|insufficient (?:gpu )?memory"
    )?;
    Some(Verdict::words(41, [said]))
}
