//! A conversion to half precision left two types at one node.

use crate::advice::{KEEP_IO_TYPES, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_fp16_type_mismatch",
    meaning: "Two types of numbers meet at a node or an input that takes one, as conversions to half precision leave them",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[KEEP_IO_TYPES],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "type_error"))?;
    Some(Verdict::of(95, hit))
}
