//! The workspace of a convolution, or of the search for its algorithm.

use crate::advice::{
    HEURISTIC_SEARCH, LEAVE_HEADROOM, NO_MAX_WORKSPACE, NOT_LOWER_LIMIT, NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE, UPGRADE,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::{Hit, Kind};
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "conv_workspace",
    meaning: "cuDNN's search tries algorithms whose workspace is larger than the convolution itself",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[HEURISTIC_SEARCH, NO_MAX_WORKSPACE, LEAVE_HEADROOM, UPGRADE],
    not_helping: &[NOT_LOWER_LIMIT, NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let searching = |hit: &&Hit| {
        let function = hit.expression.split('(').next().unwrap_or("").to_ascii_lowercase();
        function.contains("convolution") && (function.contains("find") || function.contains("get"))
            || hit.expression.contains("max_ws_size")
    };
    if let Some(hit) = facts.hits.iter().find(searching).filter(|hit| hit.kind != Kind::NotMemory) {
        let mut verdict = Verdict::of(76, hit);
        verdict
            .add("the call that failed is the search for a convolution's algorithm, which tries workspaces".to_owned());
        return Some(verdict);
    }
    if let Some(hit) = facts.out_of_memory() {
        let direct = matches!(hit.form, "cuda_call_failure" | "hip_call_failure" | "cuda_error_name")
            && (hit.expression.contains("Malloc") || hit.expression.is_empty());
        if facts.on_convolution() && direct && matches!(hit.library.as_deref(), None | Some("CUDA" | "HIP")) {
            let mut verdict = Verdict::of(66, hit);
            verdict.add(
                "a convolution took memory outside of the arena: its search workspace is reserved that way".to_owned(),
            );
            return Some(verdict);
        }
        let large = facts.requested().is_some_and(|n| (32 << 20..1 << 60).contains(&n));
        return (facts.on_convolution() && large && hit.form.starts_with("bfc_fail") && facts.provider != Some("CPU"))
            .then(|| Verdict::of(50, hit));
    }
    // The fixed workspace of the search (conv.cc): 32 MiB.
    let reserved =
        facts.hits.iter().filter(|hit| hit.form == "arena_reserve_trace" && hit.requested == Some(32 << 20)).count();
    if reserved > 0 && !facts.has_machine_message() {
        let mut verdict = Verdict::words(
            60,
            [format!("{reserved} reservations of exactly 32 MiB: the search workspace of convolutions")],
        );
        verdict.add("reservations are not checked against the limit".to_owned());
        return Some(verdict);
    }
    if facts.has_machine_message() {
        return None;
    }
    if words!(facts, r"\bgpu\b|cuda|vram|\bcard\b|onnxruntime-gpu").is_some() {
        // The search runs once, with the largest workspace that any algorithm asks for.
        if let Some(said) = words!(
            facts,
            r"(?:first (?:time|infer|run|call|image|frame)|(?:first|initial)(?:ly)? infer)[^\n]{0,120}(?:subsequent|afterwards?|then|later|after that)[^\n]{0,60}(?:normal|drop|lower|decreas|falls?|goes down|settle)"
        ) {
            return Some(Verdict::words(68, [said]));
        }
        if let Some(said) = words!(
            facts,
            r"\b(?:u-?net|cnn|resnet\w*|yolo\w*|segmentation|conv\w*)\b[\s\S]{0,300}\b(?:almost|nearly) all (?:of )?(?:the )?(?:available )?(?:gpu )?(?:memory|vram)"
        ) {
            return Some(Verdict::words(73, [said]));
        }
    }
    let said = words!(
        facts,
        r"exhaustive|max_?w(?:ork)?s(?:pace)?_?size|getmaxworkspace|search_workspace|cudnn_conv|algo(?:rithm)? (?:search|selection|finding)|(?:cudnn|conv\w*)[^.\n]{0,30} algorithms?\b|conv\w* workspace|workspace size|(?:conv|cudnn)\w* .{0,30}workspace|max_workspace"
    )?;
    Some(Verdict::words(73, [said]))
}
