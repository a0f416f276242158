//! Puts the facts together: which causes apply, in which order, and what follows from the first.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use onnxfit_base::Bytes;
use regex::Regex;

use crate::causes::{CAUSES, Oom, Rule, Verdict};
use crate::context::Context;
use crate::evidence::Evidence;
use crate::explanation::{Cause, Confidence, Explanation, Memory};
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

const CAUSES_MAX: usize = 5;
const ADVICE_MAX: usize = 7;

/// Explains the kept part of a log.
pub(crate) fn decide(evidence: &Evidence, context: &Context<'_>) -> Explanation {
    let facts = Facts::read(crate::clean::clean(&evidence.text()), context);
    let mut judged: Vec<(&'static Rule, Verdict)> =
        CAUSES.iter().filter_map(|rule| Some((*rule, (rule.judge)(&facts)?))).collect();
    // Stable: the order of the registry decides between equals.
    judged.sort_by_key(|(_, verdict)| std::cmp::Reverse(verdict.score));
    judged.truncate(CAUSES_MAX);
    let top = judged.first().map(|(rule, _)| *rule);
    let settings = crate::lint::lint_options(&facts.text);
    let primary = facts.primary.as_ref();
    let requested = facts.requested();
    Explanation {
        is_oom: match top {
            Some(rule) => is_oom(rule, &facts),
            None => facts.is("ort_status_other").then_some(false),
        },
        memory: top.map_or(Memory::Unknown, |rule| memory_of(rule, &facts)),
        requested_bytes: requested.map(Bytes),
        available_bytes: primary.and_then(|hit| hit.available).map(Bytes),
        limit_bytes: limit_of(&facts).map(Bytes),
        form: primary.filter(|hit| !hit.form.is_empty()).map_or("no_message", |hit| hit.form),
        advice: gather(judged.iter().flat_map(|(rule, _)| rule.advice), |advice| advice.id, ADVICE_MAX),
        not_helping: top.map_or_else(Vec::new, |rule| rule.not_helping.to_vec()),
        phase: facts.phase,
        device_index: primary.and_then(|hit| hit.device),
        provider: facts.provider,
        releases: crate::releases::releases_in(&facts.text),
        host: facts.hits.iter().find_map(|hit| hit.host.clone()),
        instance_types: instance_types_in(&facts.text),
        dialects: facts.dialects.iter().copied().collect(),
        first_error: primary.filter(|hit| hit.kind != Kind::Trace).map(|hit| hit.text.clone()),
        repeats: primary.map_or(0, |hit| evidence.repeats_of(&hit.text)),
        readings: readings_of(requested, &facts),
        causes: judged.into_iter().map(cause_of).collect(),
        settings,
        node: facts.node,
        op_type: facts.op_type,
    }
}

fn cause_of((rule, verdict): (&'static Rule, Verdict)) -> Cause {
    let confidence = match verdict.score {
        80.. => Confidence::High,
        55..80 => Confidence::Medium,
        _ => Confidence::Low,
    };
    Cause { id: rule.id, confidence, evidence: verdict.evidence, meaning: rule.meaning }
}

fn is_oom(rule: &Rule, facts: &Facts<'_>) -> Option<bool> {
    match rule.oom {
        Oom::Yes => Some(true),
        Oom::No => Some(false),
        Oom::Unknown => None,
        Oom::AsConfig if facts.is("unknown_provider_option") => Some(false),
        Oom::AsConfig => says_out_of_memory(facts).then_some(true),
        Oom::AsText => {
            if facts.out_of_memory().is_some() {
                return Some(true);
            }
            // A size that overflowed on a server's card: servers fill their cards.
            if facts.is("safeint_overflow") && facts.on_convolution() && facts.on_server() {
                return Some(true);
            }
            // Cut before the reason, at a node whose only usual failure is its size.
            if facts.is("node_failed_cut") && rule.memory == Memory::Device {
                return Some(true);
            }
            let only_traced = facts.primary.as_ref().is_some_and(|hit| hit.form.starts_with("arena_"));
            if facts.has_machine_message() || only_traced && !says_out_of_memory(facts) {
                return None;
            }
            Some(says_out_of_memory(facts))
        }
    }
}

/// Whether a person says that memory ran out, or that it takes others down.
pub(crate) fn says_out_of_memory(facts: &Facts<'_>) -> bool {
    words!(
        facts,
        r"out[ -]of[ -]memory|\boom(?:s|ed|ing)?\b|exhaust|ran out|run out of|runs out|crash|killed|not enough (?:gpu |video )?(?:memory|memery|vram|ram)|memory is not enough|memery is not enough|prevents? other|allocate memory|insufficient memory|keeps? (?:growing|increasing)|memory leak|increase from|\bgrow|not .{0,30}released?"
    )
    .is_some()
}

fn memory_of(rule: &Rule, facts: &Facts<'_>) -> Memory {
    if facts.has("container_killed") || facts.has("docker_stats") {
        return Memory::Container;
    }
    match rule.memory {
        Memory::Device if facts.provider == Some("CPU") && facts.out_of_memory().is_some() => Memory::Host,
        memory => memory,
    }
}

/// The limit of the arena's creation line or of another allocator's statistics, else of an option.
fn limit_of(facts: &Facts<'_>) -> Option<u64> {
    let stated = facts.hits.iter().find_map(|hit| hit.limit);
    let option = |key: &str| crate::lint::limit_in(&facts.text, key);
    stated.or_else(|| ["gpu_mem_limit", "cuda_mem_limit", "max_mem"].into_iter().find_map(option))
}

fn readings_of(requested: Option<u64>, facts: &Facts<'_>) -> Vec<crate::reading::SizeReading> {
    let Some(requested) = requested else { return Vec::new() };
    match facts.context.model {
        Some(model) => crate::reading::in_model(requested, facts.node.as_deref(), model),
        None if facts.on_attention() => crate::reading::as_attention(requested, facts.node.as_deref()),
        None => Vec::new(),
    }
}

static INSTANCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let families = r"g[2-7][a-z]*|gr6f?|p[2-6][a-z]*|inf[12]|trn[12]n?|dl[12]q?|[cmrt][3-8][a-z]*";
    Regex::new(&format!(
        r"\b(?:ml\.)?(?:{families})(?:-[a-z]+\d+)?\.(?:metal|nano|micro|small|medium|large|\d*xlarge)\b"
    ))
    .ok()
});

fn instance_types_in(text: &str) -> Vec<String> {
    let Some(pattern) = INSTANCE.as_ref() else { return Vec::new() };
    let found: BTreeSet<String> = pattern.find_iter(text).take(64).map(|found| found.as_str().to_owned()).collect();
    found.into_iter().collect()
}

/// The first of each id, in order.
fn gather<'a, T: Copy + 'a>(all: impl Iterator<Item = &'a T>, id: fn(&T) -> &'static str, max: usize) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.filter(|item| seen.insert(id(item))).take(max).copied().collect()
}
