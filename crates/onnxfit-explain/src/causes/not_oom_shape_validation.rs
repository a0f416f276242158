//! An input has another shape or type than the model declares.

use crate::advice::{CHECK_SHAPES, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_shape_validation",
    meaning: "An input does not have the shape or type that the model declares",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[CHECK_SHAPES],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit =
        facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "shape_validation"))?;
    Some(Verdict::of(92, hit))
}
