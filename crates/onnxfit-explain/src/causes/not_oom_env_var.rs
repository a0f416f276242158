//! An environment variable has a value that cuBLAS refuses.

use crate::advice::{NOT_MORE_MEMORY, UNSET_VARIABLE};
use crate::explanation::Memory;
use crate::facts::Facts;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_env_var",
    meaning: "An environment variable has a value that the library refuses",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[UNSET_VARIABLE],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.hit("cublas_workspace_config")?;
    Some(Verdict::of(91, hit))
}
