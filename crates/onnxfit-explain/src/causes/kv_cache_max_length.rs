//! The cache for keys and values is allocated for the model's maximum length.

use crate::advice::{CHECK_MODEL, MAX_LENGTH, NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE, SMALLER_BATCH};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "kv_cache_max_length",
    meaning: "The cache for keys and values was allocated for the model's maximum length",
    memory: Memory::Device,
    oom: Oom::Yes,
    judge,
    advice: &[MAX_LENGTH, SMALLER_BATCH, CHECK_MODEL],
    not_helping: &[NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.primary.as_ref().is_some_and(|hit| hit.kind == Kind::NotMemory) {
        return None;
    }
    let pattern = facts.text.to_lowercase();
    let length = pattern.contains("max_length")
        || pattern.contains("max length")
        || pattern.contains("context_length")
        || pattern.contains("context length")
        || pattern.contains("long context")
        || pattern.contains("long-context")
        || pattern.contains("context window");
    let cache = ["genai", "kv cache", "kv-cache", "kv_cache", "past_present", "past_key", "generator"]
        .iter()
        .any(|word| pattern.contains(word));
    (length && cache)
        .then(|| Verdict::words(88, ["the text names the maximum length of a generator with a cache".to_owned()]))
}
