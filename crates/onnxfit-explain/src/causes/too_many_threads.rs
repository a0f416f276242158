//! Several runs at once on one card: each has its own activations, streams and handles.

use crate::advice::{
    FEWER_THREADS, HEURISTIC_SEARCH, LOOK_AT_CARD, NOT_INTRA_OP, NOT_SAME_AS_REQUESTED, NOT_SMALLER_BATCH,
    SHARE_SESSION,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "too_many_threads",
    meaning: "More runs are on the card at once than it can hold",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[FEWER_THREADS, SHARE_SESSION, LOOK_AT_CARD, HEURISTIC_SEARCH],
    not_helping: &[NOT_INTRA_OP, NOT_SAME_AS_REQUESTED, NOT_SMALLER_BATCH],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.out_of_memory() {
        let said = words!(
            facts,
            r"execution[-_ ]threads?|max_workers|threadpool|\bthreaded\b|per thread|concurren|simultaneous|in parallel|num_threads|number of threads"
        );
        if let Some(said) = said {
            return Some(Verdict::words(76, [said, hit.text.clone()]));
        }
        // Before any run there is one thread: the card was taken by somebody else.
        let loading = facts.phase == crate::explanation::Phase::Initialization;
        if hit.status.contains("ALLOC_FAILED") && !loading {
            let mut verdict = Verdict::of(80, hit);
            verdict.add("a library handle could not be created: every thread that runs creates its own, and the card was already full".to_owned());
            return Some(verdict);
        }
        if hit.form == "cuda_call_failure" && hit.is_handle_creation() {
            return Some(Verdict::of(if loading { 48 } else { 66 }, hit));
        }
        let handle_later = facts.text.contains("CudaCall")
            || facts.hits.iter().any(|later| later.at > hit.at && later.is_handle_creation());
        if facts.failing_nodes() > 1
            && hit.form.starts_with("bfc_")
            && handle_later
            && facts.requested().is_none_or(|n| n < 1 << 30)
        {
            let mut verdict = Verdict::of(64, hit);
            verdict.add(
                "a cascade: several nodes failed, then a library call: more than one run was on the card".to_owned(),
            );
            return Some(verdict);
        }
        let requested = facts.requested()?;
        let small = requested < SMALL_BYTES;
        if hit.form.starts_with("bfc_") && facts.on_convolution() && small && facts.provider != Some("CPU") {
            let mut verdict = Verdict::of(60, hit);
            verdict.add(format!(
                "only {} were asked for: this node is a bystander, others hold the card",
                onnxfit_base::Bytes(requested)
            ));
            return Some(verdict);
        }
        // A round size at a convolution, or without a node, is a search workspace rather than a tensor.
        let workspace = requested.is_power_of_two() && (16 << 20..=128 << 20).contains(&requested);
        let place = facts.on_convolution() || facts.node.is_none();
        if hit.form.starts_with("bfc_")
            && workspace
            && place
            && facts.phase != crate::explanation::Phase::Initialization
        {
            let mut verdict = Verdict::of(52, hit);
            verdict
                .add("a power of two: the workspace of a convolution, small beside a card; others hold it".to_owned());
            return Some(verdict);
        }
        return None;
    }
    if facts.has_machine_message() {
        return None;
    }
    let said = words!(
        facts,
        r"per thread|\bthreads?\b|multi-?thread|concurren|simultaneous|at the same time|in parallel|parallel (?:requests|jobs|runs|inference|pipelines)|several requests|max_workers"
    )?;
    Some(Verdict::words(64, [said]))
}

/// Below this a request says nothing about who holds the card.
const SMALL_BYTES: u64 = 16 << 20;
