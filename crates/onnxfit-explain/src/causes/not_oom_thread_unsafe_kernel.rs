//! An operator shares a handle between threads.

use crate::advice::{LOOK_AT_CARD, NOT_MORE_MEMORY, SERIALIZE_RUNS};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_thread_unsafe_kernel",
    meaning: "An operator uses one handle from several threads; memory was not short",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[SERIALIZE_RUNS, LOOK_AT_CARD],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if !facts.has_machine_message() {
        let crashed = words!(facts, r"seg(?:mentation )?-?fault|sigsegv|access violation|0xc0000005")?;
        let at_once = words!(
            facts,
            r"parallel (?:execution|executor|mode)|ort_parallel|sequential execution|concurren\w+|(?:several|multiple|many|two) threads|multi-?thread\w*"
        )?;
        return Some(Verdict::words(56, [crashed, at_once]));
    }
    let hit =
        facts.primary.as_ref().filter(|hit| hit.kind == Kind::Ambiguous && hit.library.as_deref() == Some("CUBLAS"))?;
    let inner_call = hit.status.contains("INTERNAL_ERROR") && hit.expression.contains("Gemm");
    // Generation operators run subgraphs that share their parent's handles.
    let generation = facts.nodes.iter().any(|node| {
        node.op_type.contains("BeamSearch") || node.op_type.contains("GreedySearch") || node.op_type == "Sampling"
    });
    (inner_call && generation).then(|| Verdict::of(68, hit))
}
