//! The CUDA provider did not load.

use crate::advice::{GIVE_GPU, MATCH_LIBRARIES, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_cuda_ep_load_failed",
    meaning: "The CUDA provider did not load, so the CPU runs the model or nothing does; no memory was short",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[MATCH_LIBRARIES, GIVE_GPU],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| {
        hit.kind == Kind::NotMemory
            && matches!(hit.form, "ep_load_failed" | "ep_fallback_warning" | "rust_tracing" | "ep_not_available")
    })?;
    Some(Verdict::of(92, hit))
}
