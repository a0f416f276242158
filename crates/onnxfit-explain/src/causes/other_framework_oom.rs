//! Another framework ran out of memory.

use crate::advice::{FREE_THE_CARD, NOT_LOWER_LIMIT, OTHER_LIMIT};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "other_framework_oom",
    meaning: "Another framework ran out of memory on the card",
    memory: Memory::Other,
    oom: Oom::Yes,
    judge,
    advice: &[OTHER_LIMIT, FREE_THE_CARD],
    not_helping: &[NOT_LOWER_LIMIT],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| {
        hit.kind == Kind::NotMemory
            && matches!(
                hit.form,
                "torch_oom"
                    | "ctranslate2_oom"
                    | "xla_oom"
                    | "paddle_oom"
                    | "llama_cpp_oom"
                    | "tf_device_oom"
                    | "driver_api_oom"
            )
    })?;
    Some(Verdict::of(90, hit))
}
