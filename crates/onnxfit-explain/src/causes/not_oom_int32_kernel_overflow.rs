//! A kernel counts in 32 bits.

use crate::advice::{NOT_MORE_MEMORY, SPLIT_TENSOR};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_int32_kernel_overflow",
    meaning: "A tensor has more elements than a kernel can count in 32 bits",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[SPLIT_TENSOR],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit =
        facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "int32_overflow"))?;
    Some(Verdict::of(92, hit))
}
