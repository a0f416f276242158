//! A kernel wrote or read where it must not.

use crate::advice::{NOT_MORE_MEMORY, READ_FIRST_ERROR, SERIALIZE_RUNS, UPGRADE};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_illegal_memory_access",
    meaning: "A kernel read or wrote outside its memory; an amount of memory was not the problem",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[READ_FIRST_ERROR, UPGRADE, SERIALIZE_RUNS],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory)?;
    let status = hit.status.to_ascii_lowercase();
    let illegal = hit.form == "illegal_memory_access"
        || status.contains("illegal memory")
        || status.contains("misaligned")
        || status.contains("illegaladdress")
        || status.contains("launch fail")
        || status.contains("device-side assert");
    illegal.then(|| Verdict::of(94, hit))
}
