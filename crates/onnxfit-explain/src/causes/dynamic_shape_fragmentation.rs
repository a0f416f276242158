//! Each new shape takes a new region, and regions never merge.

use crate::advice::{NOT_EMPTY_CACHE, NOT_SHM, RECYCLE, SAME_AS_REQUESTED, SHRINK_ARENA, WARM_UP_LARGEST};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "dynamic_shape_fragmentation",
    meaning: "Changing input shapes take new regions of the arena that later shapes cannot use",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[WARM_UP_LARGEST, SHRINK_ARENA, RECYCLE, SAME_AS_REQUESTED],
    not_helping: &[NOT_EMPTY_CACHE, NOT_SHM],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.out_of_memory() {
        let said = words!(
            facts,
            r"dynamic (?:shape|axes|input)|different (?:shapes?|sizes?|lengths?|resolutions?)|var(?:iable|ying) (?:shape|length|size|resolution|input)|each new shape|fragment"
        )?;
        return Some(Verdict::words(63, [said, hit.text.clone()]));
    }
    if facts.has_machine_message() {
        return None;
    }
    if let Some(said) = words!(
        facts,
        r"dynamic (?:shape|axes|input|batch)|different (?:input |image |tensor )?(?:shapes?|sizes?|lengths?|resolutions?|inputs?)|var(?:iable|ying|ious) (?:input |image |sequence )?(?:shape|length|size|resolution|input)|new (?:input )?shape|(?:input|image|tensor) (?:shapes?|sizes?|lengths?) (?:chang|var|differ)|(?:shapes?|sizes?) (?:of [^.\n]{0,40}|that )?(?:is|are) (?:dynamic|not fixed|chang|var|differ)|(?:shape|size)s? [^.\n]{0,30}(?:is|are) fixed"
    ) {
        // That it grows with the shapes, and only then, is said of one cause.
        let grows = words!(facts, r"(?:increas|grow|ris|climb|leak|spik)\w*");
        return Some(Verdict::words(if grows.is_some() { 75 } else { 67 }, [said]));
    }
    if let Some(said) = words!(facts, r"fragment") {
        return Some(Verdict::words(67, [said]));
    }
    let said = words!(
        facts,
        r"keeps? (?:on )?(?:increasing|growing|rising|climbing)|continu\w+ (?:to )?(?:increas|grow|ris|climb)\w*|(?:gradual|steadi|slow|unbounded)\w* (?:increas|grow|ris|climb)\w*|(?:increas|grow|ris|climb)\w* (?:randomly|over time|gradually|steadily|slowly|with (?:each|every)|after (?:each|every)|constantly|continuously)|after (?:a certain number|hundreds|thousands|a while|some time|many|several|a few)"
    )?;
    // Growth without a word about a GPU is growth of the process.
    let card = words!(facts, r"\bgpu|vram|cuda|nvidia|device memory");
    Some(Verdict::words(if card.is_some() { 62 } else { 52 }, [said]))
}
