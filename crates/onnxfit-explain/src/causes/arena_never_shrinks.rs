//! One large run keeps its memory; neighbours starve. By design.

use crate::advice::{
    NOT_EMPTY_CACHE, NOT_LOWER_LIMIT, NOT_SHM, RECYCLE, SAME_AS_REQUESTED, SHRINK_ARENA, WARM_UP_LARGEST,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "arena_never_shrinks",
    meaning: "The arena keeps what its largest run needed, also when it is idle",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[SHRINK_ARENA, RECYCLE, WARM_UP_LARGEST, SAME_AS_REQUESTED],
    not_helping: &[NOT_EMPTY_CACHE, NOT_LOWER_LIMIT, NOT_SHM],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.has_machine_message() {
        return None;
    }
    let release = words!(
        facts,
        r"shrinkage|retain(?:s|ed|ing)?\b|gives? (?:it |memory )?back|(?:not|never|n't|cannot|can not|no way to|unable to|doesn't|does not) (?:be |been |being |fully |get |all )?(?:releas|free|clear|unload|shrink|go(?:es)? down|com(?:e|es|ing) (?:back )?down|return|drop|decreas)\w*|forever|empty_cache|stays? (?:allocated|high|occupied|constant)|holds? (?:on to|onto) |kept (?:allocated|after)|keep(?:s)? (?:the |all |its )?(?:gpu |video |v)?(?:memory|vram|ram)|(?:releas\w*|clear\w*|freeing|freed|frees|(?:to|not|n't|and|i) free) (?:up )?(?:the )?(?:unused |cached )?(?:gpu )?(?:memory|vram|ram)|after (?:one|a|the) (?:large|big|long|peak)|idle"
    );
    if let Some(said) = release {
        return Some(Verdict::words(69, [said]));
    }
    words!(facts, r"memory arena|memory leak|leak").map(|said| Verdict::words(46, [said]))
}
