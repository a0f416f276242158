//! TensorRT skips a tactic that does not fit and goes on.

use crate::advice::{IGNORE, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_benign_trt_tactic_skip",
    meaning: "TensorRT only skips a tactic that does not fit; nothing failed as long as an engine comes out",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[IGNORE],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::Survivable && hit.form.starts_with("trt_"))?;
    Some(Verdict::of(90, hit))
}
