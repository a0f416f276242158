//! TensorRT's workspace while an engine is built.

use crate::advice::{BIGGER_GPU, FREE_THE_CARD, NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE, SMALLER_BATCH, TRT_WORKSPACE};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "trt_workspace",
    meaning: "TensorRT ran out of workspace or of the card while it built an engine",
    memory: Memory::Device,
    oom: Oom::Yes,
    judge,
    advice: &[TRT_WORKSPACE, FREE_THE_CARD, SMALLER_BATCH, BIGGER_GPU],
    not_helping: &[NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    // TensorRT names a build that ran out by the node it had no way left to run.
    if let Some(hit) = facts.primary.as_ref().filter(|hit| hit.form == "trt_no_engine" && hit.kind == Kind::Fatal) {
        let said = crate::decide::says_out_of_memory(facts) || facts.text.contains("OOM");
        return said.then(|| Verdict::of(60, hit));
    }
    let Some(hit) = facts.out_of_memory() else {
        // No message, but who builds an engine and speaks of its memory means this.
        let said = words!(
            facts,
            r"\b(?:tensorrt|trt)\b[\s\S]{0,300}\b(?:engine (?:creation|build\w*)|tactics?\b|workspace)[\s\S]{0,200}\bmemory|(?:\boom\b|out of memory)[^\n]{0,60}\b(?:tensorrt|trt)\b|\b(?:tensorrt|trt)\b[^\n]{0,60}(?:\boom\b|out of memory)"
        );
        return said.filter(|_| !facts.has_machine_message()).map(|said| Verdict::words(68, [said]));
    };
    if let Some(short) = facts.hit("trt_insufficient_workspace") {
        return Some(Verdict::of(84, short));
    }
    if hit.form.starts_with("trt_") {
        let sized = facts.requested().is_some_and(|n| n >= 1 << 30);
        return Some(Verdict::of(if sized { 58 } else { 64 }, hit));
    }
    None
}
