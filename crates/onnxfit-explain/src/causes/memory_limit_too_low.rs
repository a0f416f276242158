//! The arena's configured limit refused: the card is never looked at.

use crate::advice::{CHECK_MODEL, NOT_BIGGER_CARD, NOT_EMPTY_CACHE, RAISE_LIMIT, SHRINK_ARENA, SMALLER_BATCH};
use crate::dialects::RAGFLOW;
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "memory_limit_too_low",
    meaning: "A limit was set on the arena and this request does not fit under it; the card may be half empty",
    memory: Memory::ArenaLimit,
    oom: Oom::Yes,
    judge,
    advice: &[RAISE_LIMIT, SHRINK_ARENA, SMALLER_BATCH, CHECK_MODEL],
    not_helping: &[NOT_BIGGER_CARD, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.hit("bfc_available_memory") {
        let mut verdict = Verdict::of(97, hit);
        if let Some(available) = hit.available {
            verdict.add(format!(
                "{available} bytes are left under the limit; free memory of the card is not part of this message"
            ));
        }
        verdict.evidence.extend(limit_set_by(facts).map(str::to_owned));
        return Some(verdict);
    }
    // Cut before it says which of its two refusals it is: the application knows.
    if let (Some(hit), Some(limit)) = (facts.out_of_memory().filter(|hit| hit.form == "bfc_cut"), limit_set_by(facts)) {
        let mut verdict = Verdict::of(60, hit);
        verdict.add(limit.to_owned());
        return Some(verdict);
    }
    if facts.out_of_memory().is_some() || facts.has("tf_bfc_stats") {
        return None;
    }
    let set = words!(facts, r"max_mem|gpu_mem_limit|memory[ _]limit|mem_limit")?;
    let refused = words!(
        facts,
        r"requested (?:memory|bytes)|available memory|smaller than requested|can only (?:use|consume)|limit (?:is |was )?(?:too (?:low|small)|configurable)|configurable|constant|(?:raise|increase|bump)\w* .{0,40}limit|hard-?coded|not a byte more"
    )?;
    Some(Verdict::words(72, [set, refused]))
}

/// The limit that an application sets by itself, so that its users never wrote it anywhere.
fn limit_set_by(facts: &Facts<'_>) -> Option<&'static str> {
    // deepdoc/vision/ocr.py, and RAGFlow's pull request 10407 of October 2025.
    facts.dialects.contains(RAGFLOW).then_some(
        "RAGFlow limits the arena of its document models itself (2 GiB on a GPU, 512 MiB without one): by \
         OCR_GPU_MEM_LIMIT_MB since October 2025, by a constant in deepdoc/vision/ocr.py before",
    )
}
