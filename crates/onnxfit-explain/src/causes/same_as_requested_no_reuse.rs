//! Growing by exactly what is asked for leaves regions that nothing fits again.

use std::collections::BTreeMap;

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
        r"(?:does not|doesn't|not) free\b|more memory|(?:higher|larger|bigger|worse|increas\w+|grow\w*) (?:memory|vram|usage|than)|not reus|no reuse|never reused|instead of \d+ ?gb|up to \d+ ?gb|from \d+(?:\.\d+)? ?gb to \d+"
    );
    let worse = worse.or_else(|| extensions_alike(facts))?;
    Some(Verdict::words(74, [strategy, worse]))
}

/// The same size taken again and again, as the arena's own lines say.
fn extensions_alike(facts: &Facts<'_>) -> Option<String> {
    let mut taken: BTreeMap<u64, usize> = BTreeMap::new();
    for hit in facts.hits.iter().filter(|hit| hit.form == "arena_extend_trace") {
        *taken.entry(hit.status.parse().ok()?).or_default() += 1;
    }
    let (bytes, n_times) = taken.into_iter().filter(|(bytes, _)| *bytes > LARGE_BYTES).max_by_key(|(_, n)| *n)?;
    (n_times > 2).then(|| format!("the arena grew by {bytes} bytes {n_times} times"))
}

/// Regions below this may be many.
const LARGE_BYTES: u64 = 32 << 20;
