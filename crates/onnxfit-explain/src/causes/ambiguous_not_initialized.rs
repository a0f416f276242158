//! A library handle was not made: a full card, or libraries that do not match.

use crate::advice::{FREE_THE_CARD, LEAVE_HEADROOM, LOOK_AT_CARD, MATCH_LIBRARIES, NOT_SAME_AS_REQUESTED};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "ambiguous_not_initialized",
    meaning: "A handle of cuDNN or cuBLAS could not be made: either the card was full, or the library does not match",
    memory: Memory::Unknown,
    oom: Oom::Unknown,
    judge,
    advice: &[LOOK_AT_CARD, MATCH_LIBRARIES, LEAVE_HEADROOM, FREE_THE_CARD],
    not_helping: &[NOT_SAME_AS_REQUESTED],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.first(Kind::Ambiguous).filter(|hit| Some(hit.at) == facts.primary.as_ref().map(|hit| hit.at))?;
    let name = hit.status.as_str();
    if name.contains("NOT_INITIALIZED") {
        return Some(Verdict::of(78, hit));
    }
    (name.contains("INTERNAL_ERROR")).then(|| Verdict::of(if hit.is_handle_creation() { 74 } else { 56 }, hit))
}
