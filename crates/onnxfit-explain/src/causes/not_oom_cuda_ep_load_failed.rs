//! The CUDA provider did not load.

use crate::advice::{GIVE_GPU, MATCH_LIBRARIES, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

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
    });
    if let Some(hit) = hit {
        return Some(Verdict::of(92, hit));
    }
    if facts.has_machine_message() {
        return None;
    }
    let said = words!(
        facts,
        r"(?:fall\w*|fell) ?back (?:\w+ ){0,3}to (?:the )?cpu|(?:runs?|running) on (?:the )?cpu\b[^.\n]{0,20}\bgpu|(?:never|not|doesn't|does not) uses? (?:the |my )?gpu|providers: \['cpuexecutionprovider'\]|(?:only|always|still|just) (?:run\w*|us\w*) (?:\w+ ){0,3}(?:the )?cpu\b|cpuexecutionprovider (?:only|instead)|(?:gpu|cuda|cudaexecutionprovider) (?:is |was )?(?:not|never) (?:being )?(?:used|available|detected|found|recogni[sz]ed)|(?:not|n't|cannot|can not) (?:use|using|find|load|see|detect)\w* (?:the )?(?:gpu|cuda|cudnn|cudaexecutionprovider)"
    )?;
    // Out of memory can be a reason to fall back.
    words!(facts, r"out of memory|\boom\b|memory|vram").is_none().then(|| Verdict::words(70, [said]))
}
