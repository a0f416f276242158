//! No GPU is visible to the process.

use crate::advice::{GIVE_GPU, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_no_device",
    meaning: "No GPU is visible to the process",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[GIVE_GPU],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.primary.as_ref().filter(|hit| hit.form == "triton_pinned_pool") {
        return Some(Verdict::of(64, hit));
    }
    if !facts.has_machine_message() {
        let without = words!(facts, r"\b(?:with no|no|without(?: an?| any)?) gpu\b|machine without (?:cuda|nvidia)")?;
        let crashed = words!(facts, r"sigsegv|seg(?:mentation )?-?fault|\bcrash|killed the process|providers_cuda")?;
        return Some(Verdict::words(62, [without, crashed]));
    }
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory)?;
    let status = hit.status.to_ascii_lowercase();
    let named = hit.form == "no_device" || status.contains("-capable device") || status.contains("nodevice");
    named.then(|| Verdict::of(95, hit))
}
