//! One tensor by itself does not fit.

use crate::advice::{
    BIGGER_GPU, CHECK_MODEL, FIX_MODEL, NOT_EMPTY_CACHE, NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE, SMALLER_BATCH,
};
use crate::explanation::Memory;
use crate::facts::Facts;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "single_tensor_too_large",
    meaning: "One tensor alone is larger than what the device can give",
    memory: Memory::Device,
    oom: Oom::Yes,
    judge,
    advice: &[SMALLER_BATCH, CHECK_MODEL, FIX_MODEL, BIGGER_GPU],
    not_helping: &[NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.out_of_memory()?;
    let requested = facts.requested()?;
    if requested > 1 << 60 {
        return None;
    }
    if let Some(memory) = facts.context.memory_bytes
        && requested > memory.get()
    {
        let mut verdict = Verdict::of(92, hit);
        verdict.add(format!("{requested} bytes were asked for at once; the device has {memory} in all"));
        return Some(verdict);
    }
    // Half a gibibyte: above it one request says more than whoever else is on the card.
    if requested < 512 << 20 {
        return None;
    }
    let mut verdict = Verdict::of(if hit.form.starts_with("trt_") { 66 } else { 56 }, hit);
    verdict.add(format!("{} were asked for at once", onnxfit_base::Bytes(requested)));
    if facts.failing_nodes() > 1 {
        verdict.score = 38;
        verdict.add("but several nodes failed, so it is not one tensor".to_owned());
    }
    Some(verdict)
}
