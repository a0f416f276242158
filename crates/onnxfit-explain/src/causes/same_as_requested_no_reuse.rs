//! Growing by exactly what is asked for leaves regions that nothing fits again.

use crate::advice::{NOT_EMPTY_CACHE, NOT_SAME_AS_REQUESTED, RECYCLE, SHRINK_ARENA, WARM_UP_LARGEST};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "same_as_requested_no_reuse",
    meaning: "With kSameAsRequested and changing shapes, regions are left that no later request fits",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[WARM_UP_LARGEST, SHRINK_ARENA, RECYCLE],
    not_helping: &[NOT_SAME_AS_REQUESTED, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.primary.as_ref().is_some_and(|hit| hit.kind == Kind::NotMemory) {
        return None;
    }
    let strategy = words!(facts, r"ksameasrequested|same_as_requested|arena_extend_strategy\W{1,4}1\b")?;
    let worse = words!(
        facts,
        r"more memory|(?:higher|larger|bigger|worse|increas\w+|grow\w*) (?:memory|vram|usage|than)|not reus|no reuse|never reused|instead of \d+ ?gb|up to \d+ ?gb|from \d+(?:\.\d+)? ?gb to \d+"
    )?;
    Some(Verdict::words(74, [strategy, worse]))
}
