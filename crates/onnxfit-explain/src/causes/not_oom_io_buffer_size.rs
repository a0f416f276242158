//! The caller's buffer for an output is small.

use crate::advice::{NOT_MORE_MEMORY, OUTPUT_BUFFER};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_io_buffer_size",
    meaning: "The buffer that the caller gave for an output is smaller than the output",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[OUTPUT_BUFFER],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit =
        facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "not_enough_space"))?;
    Some(Verdict::of(94, hit))
}
