//! The text ends before the reason.

use crate::advice::{LOOK_AT_CARD, SEND_LOG};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "unknown_init_failure",
    meaning: "The message ends before its reason",
    memory: Memory::Unknown,
    oom: Oom::Unknown,
    judge,
    advice: &[SEND_LOG, LOOK_AT_CARD],
    not_helping: &[],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.primary.as_ref().is_some_and(|hit| !matches!(hit.kind, Kind::Ambiguous | Kind::Trace | Kind::Fatal)) {
        return None;
    }
    if let Some(hit) = facts.primary.as_ref().filter(|hit| hit.kind != Kind::Trace) {
        return Some(Verdict::of(44, hit));
    }
    let machine = [
        "cuda_call.cc",
        "CudaCall(",
        "terminate called after throwing",
        "onnxruntime_pybind11_state",
        "[ONNXRuntimeError]",
        "Exception during initialization",
    ];
    let seen = machine.iter().find(|mark| facts.text.contains(**mark))?;
    Some(Verdict::words(44, [format!("`{seen}` and no reason after it")]))
}
