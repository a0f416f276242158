//! Each session, model instance or worker has its own weights and its own arena.

use crate::advice::{
    BIGGER_GPU, LOOK_AT_CARD, NOT_EMPTY_CACHE, NOT_SAME_AS_REQUESTED, NOT_SMALLER_BATCH, SHARE_SESSION, SHRINK_ARENA,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "multiple_sessions",
    meaning: "Several sessions or model instances share the card, each with its own weights and arena",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[SHARE_SESSION, LOOK_AT_CARD, SHRINK_ARENA, BIGGER_GPU],
    not_helping: &[NOT_SMALLER_BATCH, NOT_SAME_AS_REQUESTED, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.hit("sagemaker_507") {
        let mut verdict = Verdict::of(84, hit);
        verdict.add("507 of a multi-model endpoint means that no memory is left for one more model".to_owned());
        return Some(verdict);
    }
    if let Some(hit) = facts.out_of_memory() {
        if facts.text.contains("unable to create TensorRT context") || facts.text.contains("load failed for model") {
            let mut verdict = Verdict::of(80, hit);
            verdict.add("a model server could not load one more model".to_owned());
            return Some(verdict);
        }
        if let Some(said) = words!(
            facts,
            r"instance_group|model instances?|(?:several|multiple|many|two|three|four|\d+) (?:other |different |more )?(?:models|sessions|instances)|other (?:models|sessions) (?:are |is )?(?:also )?(?:hosted|loaded|running|deployed|served)|each (?:model|session|instance|worker)|multi-?model"
        ) {
            return Some(Verdict::words(68, [said, hit.text.clone()]));
        }
        let small = facts.requested().is_some_and(|n| n < SMALL_BYTES);
        if small && hit.form == "bfc_failed_to_allocate" && !facts.on_windows() {
            let mut verdict = Verdict::of(if facts.on_server() { 62 } else { 54 }, hit);
            verdict.add("a small request failed: this node is a bystander, look at who holds the card".to_owned());
            return Some(verdict);
        }
        if facts.on_server() && hit.form == "cuda_call_failure" {
            let mut verdict = Verdict::of(67, hit);
            verdict.add("on a model server every instance has its own weights, arena and handles".to_owned());
            return Some(verdict);
        }
        return None;
    }
    if facts.has_machine_message() {
        return None;
    }
    if let Some(said) = words!(
        facts,
        r"each (?:model|session|instance) alone|alternat\w+.{0,40}(?:models?|sessions?|encoder)|(?:models?|sessions?|encoder).{0,40}alternat"
    ) {
        return Some(Verdict::words(70, [said]));
    }
    if let Some(said) =
        words!(facts, r"\bload(?:s|ed|ing)?\b[^.\n]{0,40}\b(?:twice|(?:two|three|several|many) times|more than once)\b")
    {
        return Some(Verdict::words(67, [said]));
    }
    if let Some(said) = words!(
        facts,
        r"\b507\b|each (?:model|session|instance|worker)|(?:several|multiple|many|two|three|four|five|six|both|[2-9]|\d\d+) (?:(?:onnx|small|large|big|different|separate|worker|gpu|python|inference) )?(?:models?|sessions|instances|workers|process(?:es|ing)?|multi\w*process\w*)\b|multi-?model|instance_group|number of instances|per instance|model instances?|share (?:weights|the session|one session|memory between)"
    ) {
        return Some(Verdict::words(65, [said]));
    }
    if let Some(hit) = facts.hit("nvidia_smi") {
        return Some(Verdict::of(40, hit));
    }
    None
}

/// Below this a request says nothing about who holds the card.
const SMALL_BYTES: u64 = 16 << 20;
