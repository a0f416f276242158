//! Another framework's allocator reached its own limit.

use crate::advice::{FREE_THE_CARD, NOT_LOWER_LIMIT, OTHER_LIMIT};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_other_framework_limit",
    meaning: "Another framework's allocator reached its own limit; the arena of ONNX Runtime is not involved",
    memory: Memory::Other,
    oom: Oom::No,
    judge,
    advice: &[OTHER_LIMIT, FREE_THE_CARD],
    not_helping: &[NOT_LOWER_LIMIT],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "tf_bfc_stats"))?;
    Some(Verdict::of(93, hit))
}
