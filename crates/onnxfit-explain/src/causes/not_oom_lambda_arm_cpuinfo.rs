//! The CPU's description cannot be read there.

use crate::advice::{NOT_MORE_MEMORY, UPGRADE};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_lambda_arm_cpuinfo",
    meaning: "The CPU's description cannot be read on that platform; no memory was short",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[UPGRADE],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit =
        facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "lambda_cpuinfo"))?;
    Some(Verdict::of(90, hit))
}
