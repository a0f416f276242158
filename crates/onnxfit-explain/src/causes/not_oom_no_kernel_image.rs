//! The build has no kernels for this GPU.

use crate::advice::{NOT_MORE_MEMORY, RIGHT_WHEEL};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_no_kernel_image",
    meaning: "This build has no kernels for this GPU",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[RIGHT_WHEEL],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory)?;
    let status = hit.status.to_ascii_lowercase();
    let named = hit.form == "no_kernel_image" || status.contains("kernel image") || status.contains("nokernelimage");
    named.then(|| Verdict::of(95, hit))
}
