//! The shrink list is wrong, or the session has no such arena.

use crate::advice::{NOT_MORE_MEMORY, SHRINK_PLACE};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_shrink_config",
    meaning: "The list of arenas to shrink names one that this session does not have, or sits in the wrong place",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[SHRINK_PLACE],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.primary.as_ref().filter(|hit| hit.form == "shrink_list") {
        return Some(Verdict::of(96, hit));
    }
    if facts.has_machine_message() {
        return None;
    }
    let arena = words!(facts, r"arena|shrink")?;
    let release = words!(facts, r"shrink|releas|free")?;
    let broke = words!(
        facts,
        r"\b(?:block(?:s|ed|ing)?|crash\w*|hang(?:s|ing)?|hung|freez\w*|stuck|deadlock\w*|throws?|thrown|exceptions?|errors?)\b"
    )?;
    Some(Verdict::words(73, [arena, release, broke]))
}
