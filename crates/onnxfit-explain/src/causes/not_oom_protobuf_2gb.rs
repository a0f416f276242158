//! A model of more than 2 GB in one message.

use crate::advice::{EXTERNAL_DATA, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_protobuf_2gb",
    meaning: "The model is larger than one protobuf message can be; the number is a file size",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[EXTERNAL_DATA],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && matches!(hit.form, "protobuf_2gb"))?;
    Some(Verdict::of(95, hit))
}
