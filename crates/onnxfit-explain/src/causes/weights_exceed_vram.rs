//! The weights do not fit the card.

use crate::advice::{
    BIGGER_GPU, CHECK_MODEL, DEVICE_ALLOCATOR, FREE_THE_CARD, NOT_SHRINKAGE, NOT_SMALLER_BATCH, SMALLER_WEIGHTS,
};
use crate::explanation::Memory;
use crate::explanation::Phase;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "weights_exceed_vram",
    meaning: "The weights alone are more than the card has free",
    memory: Memory::Device,
    oom: Oom::Yes,
    judge,
    advice: &[CHECK_MODEL, SMALLER_WEIGHTS, BIGGER_GPU, FREE_THE_CARD, DEVICE_ALLOCATOR],
    not_helping: &[NOT_SMALLER_BATCH, NOT_SHRINKAGE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let Some(hit) = facts.out_of_memory() else { return as_told(facts) };
    if let (Some(model), Some(memory)) = (facts.context.model, facts.context.memory_bytes)
        && model.weights_bytes > memory
    {
        let mut verdict = Verdict::of(95, hit);
        verdict.add(format!("the weights take {} and the device has {memory}", model.weights_bytes));
        return Some(verdict);
    }
    if let Some(said) = words!(
        facts,
        r"\b\d+(?:\.\d+)?b\b.{0,30}(?:param|model|fp32|fp16)|\b(?:llama|gpt|opt|bloom|falcon|mi[sx]tral|qwen|gemma|phi|vicuna|pythia|mpt|glm|baichuan|deepseek)[\w.]{0,8}[-_ ](?:[\w.]{1,12}[-_ ])?\d+(?:\.\d+)?b\b|billion param|model (?:is|of|size)[^.\n]{0,20}\d+ ?gb|(?:larger|bigger) than (?:the )?(?:gpu|vram|card)"
    ) {
        return Some(Verdict::words(68, [said, hit.text.clone()]));
    }
    if facts.phase != Phase::Initialization || facts.node.is_some() || facts.provider == Some("CPU") {
        return None;
    }
    match hit.form {
        "bfc_failed_to_allocate" | "cuda_mempool" => {
            let mut verdict = Verdict::of(58, hit);
            verdict.add("refused while the session was created: a weight, not a tensor of a run".to_owned());
            Some(verdict)
        }
        "dml_8007000e" => Some(Verdict::of(60, hit)),
        "cuda_call_failure" if hit.expression.contains("cudaMalloc") => Some(Verdict::of(60, hit)),
        _ => None,
    }
}

/// Where only a person says that memory ran out, while a model of so many gigabytes is loaded.
fn as_told(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.has_machine_message() || !crate::decide::says_out_of_memory(facts) {
        return None;
    }
    let said = words!(facts, r"\bload(?:s|ed|ing)?\b[^.\n]{0,30}\b\d+(?:\.\d+)? ?gb\b[^.\n]{0,12}\bmodel")?;
    Some(Verdict::words(70, [said]))
}
