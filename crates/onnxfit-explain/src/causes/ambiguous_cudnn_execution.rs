//! A cuDNN call failed while it ran.

use crate::advice::{HEURISTIC_SEARCH, LOOK_AT_CARD, MATCH_LIBRARIES, NOT_SAME_AS_REQUESTED};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "ambiguous_cudnn_execution",
    meaning: "A call of cuDNN failed while it ran: memory, an unsupported shape or mismatched libraries",
    memory: Memory::Unknown,
    oom: Oom::Unknown,
    judge,
    advice: &[LOOK_AT_CARD, HEURISTIC_SEARCH, MATCH_LIBRARIES],
    not_helping: &[NOT_SAME_AS_REQUESTED],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::Ambiguous)?;
    let cudnn = hit
        .library
        .as_deref()
        .is_some_and(|library| library.starts_with("CUDNN") || library == "CUFFT" || library == "MIOPEN");
    let legacy = hit.form == "cuda_error_executing_legacy" && cudnn;
    if legacy || (cudnn && hit.status.contains("EXECUTION_FAILED")) {
        return Some(Verdict::of(72, hit));
    }
    (hit.form == "cuda_call_failure" && cudnn).then(|| Verdict::of(48, hit))
}
