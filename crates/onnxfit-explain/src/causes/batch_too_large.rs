//! Rows times length in one run are too much.

use crate::advice::{
    BIGGER_GPU, CHECK_MODEL, FIX_MODEL, NOT_EMPTY_CACHE, NOT_LOWER_LIMIT, NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE,
    SMALLER_BATCH,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "batch_too_large",
    meaning: "One run holds too many rows or too long ones",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[SMALLER_BATCH, CHECK_MODEL, FIX_MODEL, BIGGER_GPU],
    not_helping: &[NOT_SAME_AS_REQUESTED, NOT_SHRINKAGE, NOT_LOWER_LIMIT, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.out_of_memory() {
        if facts.on_attention() && facts.requested().is_none_or(|n| n >= SMALL_BYTES) {
            let mut verdict = Verdict::of(78, hit);
            verdict.add("the node computes attention scores: rows x heads x length x length".to_owned());
            return Some(verdict);
        }
        if facts.on_embedding() {
            let mut verdict = Verdict::of(62, hit);
            verdict.add("the node looks up embeddings: rows x length x width, the first tensor of a run".to_owned());
            return Some(verdict);
        }
        if hit.form == "cuda_error_executing_legacy" {
            let mut verdict = Verdict::of(50, hit);
            verdict.add("a copy of a run's data failed without a reason of its own".to_owned());
            return Some(verdict);
        }
        if let Some(said) = words!(
            facts,
            r"batch[ _-]?size|max_batch|max_seq|sequence length|too many (?:texts|rows|documents|chunks)|max_batch_tokens|longest (?:input|text|document)"
        ) {
            return Some(Verdict::words(61, [said]));
        }
        return None;
    }
    if facts.is("node_failed_cut") && facts.on_attention() {
        let mut verdict = Verdict::words(
            45,
            ["the message is cut at the node that computes attention scores, the largest tensor of such a model"
                .to_owned()],
        );
        verdict.add("cut before the reason".to_owned());
        return Some(verdict);
    }
    if facts.has_machine_message() {
        return None;
    }
    if let Some(said) = words!(
        facts,
        r"(?:linear\w*|proportional\w*|scales?|grows?) with (?:the )?(?:batch|sequence|input|number)|single-shot batch|(?:large|bigger|huge|whole|entire) batch|(?:reduc|lower|decreas|small)\w* .{0,30}batch|batch[ _-]?(?:size)? .{0,60}(?:oom|out of memory|exhaust|crash)|\bo\(n|one (?:session\.)?run|(?:texts?|documents?|chunks?|pairs) (?:at once|in one|in a single)|max_batch_tokens|long (?:documents?|texts?|inputs?|sequences?)|larger (?:images?|inputs?)|attention scores?"
    ) {
        return Some(Verdict::words(66, [said]));
    }
    let batch = words!(facts, r"\bbatch");
    batch.map(|said| Verdict::words(50, [said]))
}

/// Below this a request says nothing about who holds the card.
const SMALL_BYTES: u64 = 16 << 20;
