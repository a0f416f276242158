//! What each option of session and arena does to one request, found by replaying it.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_plan::{Fit, Levers};
use onnxfit_report::check::Verdict;
use onnxfit_report::fix::{OptionView, RefusedOptionView};

use crate::request::{Provider, Request};
use crate::twin::{Judgement, N_RUNS, Twin};

/// Replays that a search for one size may take.
const REPLAYS_MAX: usize = 24;

/// Every option alone and the pairs that go together, least held first after the request itself.
pub(crate) fn session_options(twin: &Twin<'_>, request: &Request, dims: &BTreeMap<String, i64>) -> Vec<OptionView> {
    let runs = vec![dims.clone(); N_RUNS];
    let asked = twin.request_levers();
    let mut tried = vec![asked];
    let switch = |mem_pattern, same_as_requested| Levers { mem_pattern, same_as_requested, ..asked };
    tried.extend([switch(false, false), switch(true, true), switch(false, true)]);
    tried.push(Levers { shrink_after_run: true, ..asked });
    tried.push(Levers { dead_per_chunk_max: Some(Bytes::mib(1)), ..asked });
    if request.provider == Provider::Cuda {
        tried.push(Levers { device_allocator_for_initializers: true, ..asked });
    }
    for mem_pattern in [true, false] {
        let levers = Levers { mem_pattern, ..asked };
        let chunk = single_region(twin, &runs, levers);
        tried.extend(chunk.map(|chunk| Levers { initial_chunk: Some(chunk), ..levers }));
    }
    let mut rows: Vec<OptionView> = Vec::new();
    for levers in tried {
        let changes = levers.changes();
        if rows.iter().any(|row| row.changes == changes) {
            continue;
        }
        let judgement = twin.ask_sequence(&runs, levers, request.budget());
        rows.push(row(&judgement, changes, note(request.provider, levers)));
    }
    let judgement = twin.ask_by_priority(&runs, request.budget());
    let name = "execution_order = PRIORITY_BASED".to_owned();
    let where_it_is_set = "an option of Python's SessionOptions; nodes in another order, the same answers".to_owned();
    rows.push(row(&judgement, vec![name], where_it_is_set));
    if let Some((_, others)) = rows.split_first_mut() {
        others.sort_by_key(|row| (row.peak_bytes.0, row.held_bytes.0, row.changes.len()));
    }
    rows
}

fn row(judgement: &Judgement, changes: Vec<String>, note: String) -> OptionView {
    let prediction = &judgement.prediction;
    let last = prediction.runs.last().map(|run| run.released.total_allocated_bytes);
    OptionView {
        changes,
        peak_bytes: judgement.band.expected.into(),
        held_bytes: last.unwrap_or(prediction.load.total_allocated_bytes).into(),
        verdict: verdict(judgement.fit),
        note,
    }
}

/// A fit in the words of a report.
pub(crate) const fn verdict(fit: Fit) -> Verdict {
    match fit {
        Fit::Fits => Verdict::Fits,
        Fit::Tight => Verdict::Tight,
        Fit::DoesNotFit => Verdict::DoesNotFit,
    }
}

/// How an option is set where that is not plain.
fn note(provider: Provider, levers: Levers) -> String {
    let sizes = levers.initial_chunk.is_some() || levers.dead_per_chunk_max.is_some();
    match provider {
        Provider::Cuda if sizes => {
            "only for an arena of the environment: create_and_register_allocator_v2, use_env_allocators".to_owned()
        }
        Provider::Cpu if sizes || levers.same_as_requested => {
            "only for an arena of the environment: create_and_register_allocator, use_env_allocators".to_owned()
        }
        _ if levers.shrink_after_run => "a run option; every run takes its regions anew".to_owned(),
        _ => String::new(),
    }
}

/// The smallest first region that holds everything alone; `None` where no size does.
pub(crate) fn single_region(twin: &Twin<'_>, runs: &[BTreeMap<String, i64>], levers: Levers) -> Option<Bytes> {
    let replay =
        |chunk: Option<Bytes>| twin.ask_sequence(runs, Levers { initial_chunk: chunk, ..levers }, None).prediction;
    let free = replay(None);
    let in_use = free.runs.iter().map(|run| run.peak_in_use_bytes).max()?;
    let held = free.runs.iter().map(|run| run.total_allocated_bytes).max()?;
    let is_alone = |chunk: u64| {
        let prediction = replay(Some(Bytes(chunk)));
        let last = prediction.runs.last();
        prediction.failure.is_none() && last.is_some_and(|run| run.stats.n_extensions <= 1)
    };
    let quantum = 256;
    let (mut fails, mut holds) = (0, held.get().max(in_use.get()).div_ceil(quantum) + 1);
    if !is_alone(holds * quantum) {
        return None;
    }
    for _ in 0..REPLAYS_MAX {
        if holds - fails <= 1 {
            break;
        }
        let middle = fails + (holds - fails) / 2;
        if is_alone(middle * quantum) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    Some(Bytes(holds * quantum))
}

/// Settings that people reach for and that do nothing here, each with the reason.
pub(crate) fn refused(request: &Request) -> Vec<RefusedOptionView> {
    let refused = |name: &str, why: &str| RefusedOptionView { name: name.to_owned(), why: why.to_owned() };
    let release = onnxfit_memory::releases::parse(&request.ort_version);
    let mut rows = Vec::new();
    match request.provider {
        Provider::Cuda => {
            if release >= (1, 19, 0) {
                rows.push(refused(
                    "cudnn_conv_use_max_workspace",
                    "builds with cuDNN 9 do not ask for the largest workspace: both values give the same",
                ));
            }
            rows.push(refused(
                "IO binding of outputs",
                "their bytes are the caller's instead of the arena's, as many in all: it saves copies, not memory",
            ));
            rows.push(refused("enable_cpu_mem_arena", "governs host memory; the device arena stays as it is"));
            rows.push(refused(
                "max_power_of_two_extend_bytes",
                "not passed on to the device arena, which always stops at 1 GiB",
            ));
        }
        Provider::Cpu => {
            for name in ["gpu_mem_limit", "session.use_device_allocator_for_initializers"] {
                rows.push(refused(name, "read by device providers only"));
            }
            rows.push(refused(
                "arena_extend_strategy as a provider option",
                "the CPU provider has none: it is read from the arena of the environment alone",
            ));
        }
    }
    rows.push(refused(
        "memory.enable_memory_arena_shrinkage as a session entry",
        "accepted and never read: it is a run option",
    ));
    rows
}
