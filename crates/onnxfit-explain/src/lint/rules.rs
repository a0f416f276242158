//! What is wrong with a setting: one function a rule, one list.

use onnxfit_base::Diagnostic;

use super::known::{self, nearest};
use super::{Place, Setting};

type Rule = fn(&Setting, &[Setting]) -> Option<Diagnostic>;

const RULES: &[Rule] = &[
    enable_fp16,
    old_name,
    shrinkage_in_the_session,
    shrinkage_without_devices,
    shrinkage_of_a_missing_device,
    shrinkage_of_another_gpu,
    parallel_execution,
    reuse_turned_off,
    provider_option_elsewhere,
    option_as_variable,
    changed_copy,
    max_workspace,
    same_as_requested,
    exhaustive_search,
    numeric_enum,
    limit_that_is_no_limit,
    session_entry_value,
    deprecated,
    graph_and_mempool,
    other_frameworks_variable,
    unknown_key,
];

/// Every finding about one setting; the first rule that says it is in the wrong place is enough.
pub(super) fn judge(setting: &Setting, all: &[Setting]) -> Vec<Diagnostic> {
    let found: Vec<Diagnostic> = RULES.iter().filter_map(|rule| rule(setting, all)).collect();
    found.into_iter().take(2).collect()
}

const SHRINKAGE: &str = "memory.enable_memory_arena_shrinkage";

fn enable_fp16(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let named = matches!(setting.key.as_str(), "enable_fp16" | "use_fp16" | "fp16" | "enable_float16");
    let here = matches!(
        setting.place,
        Place::SessionAttribute | Place::SessionEntry | Place::ProviderOption | Place::Environment
    );
    (named && here).then(|| {
        Diagnostic::warning(
            "no-such-option",
            format!("`{}` is no option of ONNX Runtime: it is not read, or raises an error", setting.key),
        )
        .with_hint("convert the model to fp16 (`onnxfit fix`), or use `trt_fp16_enable` of the TensorRT provider")
    })
}

fn old_name(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let (old, new) = known::OLD_NAMES.iter().find(|(old, _)| *old == setting.key)?;
    Some(
        Diagnostic::warning("renamed-option", format!("`{old}` was renamed to `{new}` (between 1.6 and 1.8)"))
            .with_hint(format!("pass `{new}` in the options of the CUDA provider when the session is created")),
    )
}

fn shrinkage_in_the_session(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let wrong = !matches!(setting.place, Place::RunEntry | Place::TritonParameter);
    (setting.key == SHRINKAGE && wrong).then(|| {
        Diagnostic::warning(
            "wrong-place",
            format!("`{SHRINKAGE}` as {} is accepted and ignored: it is an option of a run", setting.place.words()),
        )
        .with_hint(format!("run_options.add_run_config_entry(\"{SHRINKAGE}\", \"gpu:0\")"))
    })
}

fn shrinkage_without_devices(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    if setting.key != SHRINKAGE {
        return None;
    }
    let device = |item: &str| {
        let (name, id) = item.split_once(':').unwrap_or((item, ""));
        matches!(name, "cpu" | "gpu") && !id.is_empty() && id.chars().all(|c| c.is_ascii_digit())
    };
    (!setting.value.split(';').all(device)).then(|| {
        Diagnostic::warning(
            "bad-value",
            format!(
                "`{SHRINKAGE}` is \"{}\"; it wants a list of devices, in lower case and without spaces",
                setting.value
            ),
        )
        .with_hint("\"gpu:0\", or \"gpu:0;cpu:0\" if the CPU's arena is on")
    })
}

fn shrinkage_of_a_missing_device(setting: &Setting, all: &[Setting]) -> Option<Diagnostic> {
    let off = |other: &Setting| {
        other.key.trim_start_matches("session.") == "enable_cpu_mem_arena"
            && matches!(other.value.to_lowercase().as_str(), "0" | "false")
    };
    let cpu = setting.key == SHRINKAGE && setting.value.contains("cpu:");
    (cpu && all.iter().any(off)).then(|| {
        Diagnostic::error("missing-arena", "the shrink list names `cpu`, whose arena is turned off: each run will fail")
            .with_hint("take `cpu:0` out of the list")
    })
}

fn shrinkage_of_another_gpu(setting: &Setting, all: &[Setting]) -> Option<Diagnostic> {
    if setting.key != SHRINKAGE {
        return None;
    }
    let used: Vec<&str> = all
        .iter()
        .filter(|other| other.key == "device_id" && other.place == Place::ProviderOption)
        .map(|other| other.value.as_str())
        .collect();
    let listed = setting.value.split(';').filter_map(|item| item.strip_prefix("gpu:"));
    let missing = listed.into_iter().find(|gpu| !used.is_empty() && !used.contains(gpu))?;
    let uses = used.join(", ");
    Some(
        Diagnostic::error(
            "missing-arena",
            format!("the shrink list names `gpu:{missing}`, the session uses device {uses}: each run will fail"),
        )
        .with_hint(format!("\"gpu:{}\"", used[0])),
    )
}

fn parallel_execution(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let here = setting.key.trim_start_matches("session.") == "execution_mode";
    let parallel = setting.value.contains("PARALLEL") || setting.value == "1";
    (here && parallel).then(|| {
        Diagnostic::warning(
            "costs-memory",
            "parallel execution turns off memory patterns and the reuse of buffers between nodes: the peak rises",
        )
        .with_hint("ExecutionMode.ORT_SEQUENTIAL, and threads inside operators (`intra_op_num_threads`)")
    })
}

fn reuse_turned_off(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let off = matches!(setting.value.to_lowercase().as_str(), "0" | "false");
    (setting.key == "enable_mem_reuse" && off).then(|| {
        Diagnostic::note(
            "folklore",
            "`enable_mem_reuse` = False frees nothing: the arena gives buffers back in any case, and the peak is usually the same",
        )
    })
}

fn provider_option_elsewhere(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let elsewhere =
        matches!(setting.place, Place::SessionEntry | Place::RunEntry | Place::SessionAttribute | Place::RunAttribute);
    let option = known::CUDA_OPTIONS.contains(&setting.key.as_str()) && setting.key != "device_id"
        || setting.key.starts_with("trt_");
    (elsewhere && option).then(|| {
        Diagnostic::warning(
            "wrong-place",
            format!("`{}` as {} does nothing: it is an option of the provider", setting.key, setting.place.words()),
        )
        .with_hint(format!("providers=[(\"CUDAExecutionProvider\", {{\"{}\": \"{}\"}})]", setting.key, setting.value))
    })
}

fn option_as_variable(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    if setting.place != Place::Environment {
        return None;
    }
    let option = known::option_in_disguise(&setting.key.to_lowercase())?;
    Some(
        Diagnostic::warning(
            "not-a-variable",
            format!("ONNX Runtime reads no environment variable `{}`; `{option}` is an option", setting.key),
        )
        .with_hint("pass it when the session is created"),
    )
}

fn changed_copy(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    (setting.place == Place::ProviderOptionsCopy).then(|| {
        Diagnostic::warning(
            "changed-copy",
            format!(
                "`{}` is set in what `get_provider_options()` returned: that is a copy, the session does not see it",
                setting.key
            ),
        )
        .with_hint("pass the options when the session is created, or call `session.set_providers` with them")
    })
}

fn max_workspace(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let here = matches!(setting.place, Place::ProviderOption | Place::TritonParameter);
    (setting.key == "cudnn_conv_use_max_workspace" && here).then(|| {
        Diagnostic::note(
            "no-effect-cudnn-9",
            "`cudnn_conv_use_max_workspace` has no effect in builds for cuDNN 9 (1.19 and later)",
        )
        .with_hint("use `cudnn_conv_algo_search` = \"HEURISTIC\"")
    })
}

fn same_as_requested(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let same = setting.value.contains("kSameAsRequested") || setting.value == "1";
    (setting.key == "arena_extend_strategy" && same).then(|| {
        Diagnostic::note("folklore", "`kSameAsRequested` is the most repeated advice with the weakest evidence: no effect in several reports, 4.4 GB became 24 GB in one with changing shapes")
            .with_hint("measure both; from 1.16 doubling is capped at 1 GiB a step")
    })
}

fn exhaustive_search(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    (setting.key == "cudnn_conv_algo_search" && matches!(setting.value.to_uppercase().as_str(), "EXHAUSTIVE" | "0"))
        .then(|| {
            Diagnostic::note(
                "large-workspace",
                "an EXHAUSTIVE search tries algorithms with large workspaces: 5.0 GB against 0.6 GB in one measurement",
            )
            .with_hint("`cudnn_conv_algo_search` = \"HEURISTIC\"")
        })
}

fn numeric_enum(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let (key, words): (&str, &[&str]) = match setting.key.as_str() {
        "arena_extend_strategy" => ("arena_extend_strategy", &["kNextPowerOfTwo", "kSameAsRequested"]),
        "cudnn_conv_algo_search" => ("cudnn_conv_algo_search", &["EXHAUSTIVE", "HEURISTIC", "DEFAULT"]),
        _ => return None,
    };
    // C, C++ and Triton take numbers; the dictionary of Python takes the names.
    let wrong = setting.provider.is_some() && !words.iter().any(|word| setting.value.contains(word));
    (wrong && !setting.value.is_empty() && !setting.value.chars().all(|c| c.is_alphanumeric() && c.is_lowercase()))
        .then(|| {
            Diagnostic::error(
                "bad-value",
                format!("`{key}` is \"{}\"; it wants one of {}", setting.value, words.join(", ")),
            )
        })
}

fn limit_that_is_no_limit(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    if setting.key != "gpu_mem_limit" || !matches!(setting.place, Place::ProviderOption | Place::TritonParameter) {
        return None;
    }
    let bytes = crate::number::evaluate(&setting.value)?;
    if bytes < 64 << 20 && bytes > 0 {
        return Some(
            Diagnostic::warning(
                "limit-too-low",
                format!("`gpu_mem_limit` is {bytes}: it counts bytes, and no model runs in that"),
            )
            .with_hint("write for example `8 * 1024 ** 3`"),
        );
    }
    (bytes < 1 << 60).then(|| {
        Diagnostic::note("arena-limit-only", format!("`gpu_mem_limit` ({}) limits the arena only: context, library handles and reserved workspaces come on top, and it does not lower what the model needs", onnxfit_base::Bytes(bytes)))
    })
}

fn session_entry_value(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let switch = setting.place == Place::SessionEntry
        && setting.key.starts_with("session.")
        && (setting.key.contains(".use_") || setting.key.contains(".disable_"));
    let word = matches!(setting.value.as_str(), "true" | "True" | "false" | "False" | "on" | "off" | "yes" | "no");
    (switch && word && known::SESSION_ENTRIES.contains(&setting.key.as_str())).then(|| {
        Diagnostic::warning("bad-value", format!("`{}` is \"{}\"; only \"1\" turns it on", setting.key, setting.value))
            .with_hint("write \"1\" or \"0\"")
    })
}

fn deprecated(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let ignored = setting.key == "enable_skip_layer_norm_strict_mode" && setting.place == Place::ProviderOption;
    ignored.then(|| Diagnostic::note("deprecated-option", format!("`{}` is deprecated and ignored", setting.key)))
}

fn graph_and_mempool(setting: &Setting, all: &[Setting]) -> Option<Diagnostic> {
    let on = |other: &Setting, key: &str| {
        other.key.trim_start_matches("arena.") == key && matches!(other.value.to_lowercase().as_str(), "1" | "true")
    };
    (on(setting, "use_cuda_mempool") && all.iter().any(|other| on(other, "enable_cuda_graph"))).then(|| {
        Diagnostic::warning(
            "does-not-combine",
            "`use_cuda_mempool` is not used together with `enable_cuda_graph`: the old arena is taken instead",
        )
    })
}

fn other_frameworks_variable(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let other = setting.key.starts_with("PYTORCH_") || setting.key.starts_with("TF_");
    (setting.place == Place::Environment && other).then(|| {
        Diagnostic::note(
            "other-framework",
            format!("`{}` is read by another framework; the arena of ONNX Runtime does not see it", setting.key),
        )
    })
}

fn unknown_key(setting: &Setting, _: &[Setting]) -> Option<Diagnostic> {
    let key = setting.key.as_str();
    let known: Vec<&'static str> = match setting.place {
        Place::SessionEntry if key != SHRINKAGE => known::SESSION_ENTRIES.to_vec(),
        Place::RunEntry => known::RUN_ENTRIES.to_vec(),
        Place::SessionAttribute => known::SESSION_ATTRIBUTES.to_vec(),
        Place::RunAttribute => known::RUN_ATTRIBUTES.to_vec(),
        Place::ProviderOption if setting.provider.as_deref().is_none_or(|name| name == "CUDAExecutionProvider") => {
            known::CUDA_OPTIONS.iter().chain(known::ARENA_OPTIONS).copied().collect()
        }
        _ => return None,
    };
    let elsewhere = known::is_provider_option(key)
        || known::is_old_name(key)
        || key == SHRINKAGE
        || key == "device_id"
        || key == "enable_fp16";
    if known.contains(&key) || elsewhere || key.starts_with("trt_") || key.starts_with("ep.") {
        return None;
    }
    let near = nearest(key, known.iter().copied());
    // An unknown attribute without a near one may belong to anything in the script.
    if near.is_none() && !matches!(setting.place, Place::SessionEntry | Place::RunEntry) {
        return None;
    }
    let finding = Diagnostic::warning(
        "unknown-key",
        format!("`{key}` is not known as {}: it is stored and never read, or refused", setting.place.words()),
    );
    Some(match near {
        Some(near) => finding.with_hint(format!("did you mean `{near}`?")),
        None => finding,
    })
}

/// The old C struct of options has no defaults until it is set.
pub(super) fn uninitialised_struct(text: &str) -> Option<Diagnostic> {
    let at = text.find("OrtCUDAProviderOptions ")?;
    let declaration = text[at..].split(';').next()?;
    let set = declaration.contains('{') || declaration.contains('=') || text.contains("memset");
    (!set).then(|| {
        Diagnostic::warning(
            "uninitialised-struct",
            "`OrtCUDAProviderOptions` is declared without values: in C its limit is whatever was in memory",
        )
        .with_hint("use `CreateCUDAProviderOptions` and `UpdateCUDAProviderOptions`")
    })
}
