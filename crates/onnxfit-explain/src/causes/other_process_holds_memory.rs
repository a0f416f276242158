//! Another process or framework has the card.

use crate::advice::{
    BIGGER_GPU, FREE_THE_CARD, LEAVE_HEADROOM, LOOK_AT_CARD, NOT_EMPTY_CACHE, NOT_SAME_AS_REQUESTED, NOT_SMALLER_BATCH,
};
use crate::explanation::Memory;
use crate::explanation::Phase;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "other_process_holds_memory",
    meaning: "Another process or framework holds the card's memory",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[FREE_THE_CARD, LEAVE_HEADROOM, LOOK_AT_CARD, BIGGER_GPU],
    not_helping: &[NOT_SMALLER_BATCH, NOT_SAME_AS_REQUESTED, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let said = words!(
        facts,
        r"(?:another|other|second|different) (?:task|process|program|app|application|framework|model server|container|user|job|service)s?\b|occup(?:y|ies|ied)|\bvgpu\b|close (?:other|all)|pre-?allocat|shar(?:es?|ed|ing) the (?:gpu|card)|leftover|zombie|stray process|games?\b|browser|already (?:in use|used|taken) by"
    );
    if let Some(hit) = facts.out_of_memory() {
        if let Some(said) = said {
            return Some(Verdict::words(70, [said, hit.text.clone()]));
        }
        if facts.phase == Phase::Initialization && hit.is_handle_creation() {
            let mut verdict = Verdict::of(64, hit);
            verdict.add(
                "a library handle was refused while the session was created: the card was already full".to_owned(),
            );
            return Some(verdict);
        }
        let loading = facts.phase == Phase::Initialization && hit.form == "bfc_failed_to_allocate";
        if loading && facts.provider != Some("CPU") && facts.requested().is_some_and(|n| n < 1 << 30) {
            let mut verdict = Verdict::of(if facts.on_windows() { 60 } else { 46 }, hit);
            verdict.add(
                "a weight of modest size was refused while loading, before any run: the card was already taken"
                    .to_owned(),
            );
            return Some(verdict);
        }
        let small = facts.requested().is_some_and(|n| n < 16 << 20);
        return (small && hit.form.starts_with("bfc_fail")).then(|| Verdict::of(36, hit));
    }
    if let Some(hit) = facts.hit("safeint_overflow").filter(|_| facts.on_server() && facts.on_convolution()) {
        return Some(Verdict::of(56, hit));
    }
    if facts.has_machine_message() {
        return None;
    }
    Some(Verdict::words(66, [said?]))
}
