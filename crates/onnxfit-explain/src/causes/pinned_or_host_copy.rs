//! The output of a copy to the host is host memory, often pinned.

use crate::advice::{MORE_HOST_MEMORY, NOT_GPU, NOT_SAME_AS_REQUESTED, PINNED, SMALLER_BATCH};
use crate::explanation::Memory;
use crate::facts::Facts;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "pinned_or_host_copy",
    meaning: "The buffer on the host side of a copy was refused, not memory of the card",
    memory: Memory::Pinned,
    oom: Oom::Yes,
    judge,
    advice: &[PINNED, SMALLER_BATCH, MORE_HOST_MEMORY],
    not_helping: &[NOT_GPU, NOT_SAME_AS_REQUESTED],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.out_of_memory()?;
    if hit.form == "pinned_refused" {
        return Some(Verdict::of(86, hit));
    }
    if hit.form.starts_with("bfc_fail") && facts.op_type.as_deref() == Some("MemcpyToHost") {
        let mut verdict = Verdict::of(77, hit);
        verdict.add("the output of MemcpyToHost is host memory, also when the CUDA provider runs the node".to_owned());
        return Some(verdict);
    }
    None
}
