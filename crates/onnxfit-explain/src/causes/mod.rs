//! The causes: one file each, one registry.
//!
//! Each judges the facts by itself and says how strongly they speak for it; `decide` only sorts.
//! The order of the registry decides between equals.

mod ambiguous_cudnn_execution;
mod ambiguous_not_initialized;
mod arena_growth_power_of_two;
mod arena_never_shrinks;
mod batch_too_large;
mod conv_workspace;
mod cuda_context_overhead;
mod dynamic_shape_fragmentation;
mod host_ram;
mod kv_cache_max_length;
mod mem_pattern_doubling;
mod memory_limit_too_low;
mod misconfigured_options;
mod multiple_processes_startup_spike;
mod multiple_sessions;
mod not_oom_benign_trt_tactic_skip;
mod not_oom_cuda_ep_load_failed;
mod not_oom_cuda_graph_capture;
mod not_oom_cudnn_version_mismatch;
mod not_oom_driver_or_arch;
mod not_oom_env_var;
mod not_oom_fp16_type_mismatch;
mod not_oom_illegal_memory_access;
mod not_oom_int32_kernel_overflow;
mod not_oom_io_buffer_size;
mod not_oom_lambda_arm_cpuinfo;
mod not_oom_no_device;
mod not_oom_no_kernel_image;
mod not_oom_other_framework_limit;
mod not_oom_protobuf_2gb;
mod not_oom_shape_validation;
mod not_oom_shrink_config;
mod not_oom_thread_unsafe_kernel;
mod not_oom_uninitialised_options;
mod other_framework_oom;
mod other_process_holds_memory;
mod pinned_or_host_copy;
mod runtime_leak_bug;
mod same_as_requested_no_reuse;
mod session_reload_leak;
mod single_tensor_too_large;
mod size_computation_garbage;
mod too_many_threads;
mod trt_workspace;
mod unknown_init_failure;
mod unknown_vram_exhausted;
mod weights_exceed_vram;

use std::sync::LazyLock;

use regex::Regex;

use crate::advice::{Advice, NotHelping};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Hit;

/// What a cause says about "is it out of memory".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oom {
    /// Memory ran out or was refused.
    Yes,
    /// It is something else, or nothing failed.
    No,
    /// The text cannot tell.
    Unknown,
    /// As the message says; without one, as the writer says.
    AsText,
    /// Only options are shown: no failure is known.
    AsConfig,
}

/// One cause.
pub(crate) struct Rule {
    pub id: &'static str,
    pub meaning: &'static str,
    pub memory: Memory,
    pub oom: Oom,
    pub judge: fn(&Facts<'_>) -> Option<Verdict>,
    pub advice: &'static [Advice],
    pub not_helping: &'static [NotHelping],
}

/// How strongly the facts speak for a cause, of 100, and which.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub score: u8,
    pub evidence: Vec<String>,
}

impl Verdict {
    /// A message speaks.
    pub(crate) fn of(score: u8, hit: &Hit) -> Self {
        Self { score, evidence: vec![hit.text.clone()] }
    }

    /// Words speak.
    pub(crate) fn words<const N: usize>(score: u8, evidence: [String; N]) -> Self {
        Self { score, evidence: evidence.into() }
    }

    /// One more piece of evidence.
    pub(crate) fn add(&mut self, evidence: String) {
        self.evidence.push(evidence);
    }
}

pub(crate) const CAUSES: &[&Rule] = &[
    &memory_limit_too_low::RULE,
    &size_computation_garbage::RULE,
    &host_ram::RULE,
    &batch_too_large::RULE,
    &single_tensor_too_large::RULE,
    &too_many_threads::RULE,
    &multiple_sessions::RULE,
    &multiple_processes_startup_spike::RULE,
    &other_process_holds_memory::RULE,
    &weights_exceed_vram::RULE,
    &conv_workspace::RULE,
    &arena_never_shrinks::RULE,
    &arena_growth_power_of_two::RULE,
    &cuda_context_overhead::RULE,
    &dynamic_shape_fragmentation::RULE,
    &mem_pattern_doubling::RULE,
    &session_reload_leak::RULE,
    &runtime_leak_bug::RULE,
    &kv_cache_max_length::RULE,
    &pinned_or_host_copy::RULE,
    &trt_workspace::RULE,
    &misconfigured_options::RULE,
    &same_as_requested_no_reuse::RULE,
    &unknown_vram_exhausted::RULE,
    &ambiguous_not_initialized::RULE,
    &ambiguous_cudnn_execution::RULE,
    &unknown_init_failure::RULE,
    &not_oom_cuda_ep_load_failed::RULE,
    &not_oom_cudnn_version_mismatch::RULE,
    &not_oom_illegal_memory_access::RULE,
    &not_oom_driver_or_arch::RULE,
    &not_oom_no_kernel_image::RULE,
    &not_oom_no_device::RULE,
    &not_oom_fp16_type_mismatch::RULE,
    &not_oom_protobuf_2gb::RULE,
    &not_oom_io_buffer_size::RULE,
    &not_oom_shape_validation::RULE,
    &not_oom_lambda_arm_cpuinfo::RULE,
    &not_oom_int32_kernel_overflow::RULE,
    &not_oom_shrink_config::RULE,
    &not_oom_cuda_graph_capture::RULE,
    &not_oom_env_var::RULE,
    &not_oom_uninitialised_options::RULE,
    &not_oom_benign_trt_tactic_skip::RULE,
    &not_oom_thread_unsafe_kernel::RULE,
    &not_oom_other_framework_limit::RULE,
    &other_framework_oom::RULE,
];

static MODEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:(\d+(?:\.\d+)?) ?([kmg])i?b (?:onnx )?model|model (?:is |of |size |only |about |around |file )*(\d+(?:\.\d+)?) ?([kmg])i?b)").ok()
});
static USED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:uses?|using|needs?|takes?|took|consum\w+|requires?|occup\w+|costs?|memory)[^\d\n]{0,40}(\d+(?:\.\d+)?) ?([kmg])i?b").ok()
});

/// The size of a model and what it takes, if a person states both.
pub(crate) fn footprint(prose: &str) -> Option<(u64, u64)> {
    let model = MODEL.as_ref()?.captures(prose)?;
    let (amount, unit) = match model.get(1) {
        Some(amount) => (amount, model.get(2)?),
        None => (model.get(3)?, model.get(4)?),
    };
    let end = model.get(0)?.end();
    let used = USED.as_ref()?.captures(&prose[end..])?;
    let model_bytes = crate::number::with_unit(amount.as_str(), unit.as_str())?;
    Some((model_bytes, crate::number::with_unit(&used[1], &used[2])?))
}
