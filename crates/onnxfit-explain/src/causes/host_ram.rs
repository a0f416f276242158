//! Host memory ran out: the CPU's arena, loading, a heap, a container. Not the card.

use crate::advice::{
    CHECK_MODEL, CPU_ARENA_OFF, EXTERNAL_DATA, MORE_HOST_MEMORY, NOT_EMPTY_CACHE, NOT_GPU, SHARE_SESSION, SMALLER_BATCH,
};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "host_ram",
    meaning: "Host memory is short, not the memory of the card",
    memory: Memory::Host,
    oom: Oom::AsText,
    judge,
    advice: &[MORE_HOST_MEMORY, SMALLER_BATCH, CPU_ARENA_OFF, EXTERNAL_DATA, SHARE_SESSION, CHECK_MODEL],
    not_helping: &[NOT_GPU, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    const MESSAGES: &[&str] = &[
        "std_bad_alloc",
        "dotnet_out_of_memory",
        "host_cannot_allocate",
        "container_killed",
        "kernel_killed",
        "signal_killed",
        "wasm_range_error",
        "wasm_abort",
        "jvm_out_of_memory",
    ];
    if let Some(hit) = facts.out_of_memory().filter(|hit| MESSAGES.contains(&hit.form)) {
        return Some(Verdict::of(86, hit));
    }
    if let Some(hit) = facts.out_of_memory() {
        if facts.is("wasm_numeric_exception") {
            return Some(Verdict::of(60, hit));
        }
        if facts.node.as_deref().is_some_and(|name| name.ends_with("_nchwc")) {
            let mut verdict = Verdict::of(84, hit);
            verdict.add(
                "the node's name ends in `_nchwc`: a convolution of the CPU, so this is the CPU's arena".to_owned(),
            );
            return Some(verdict);
        }
        if facts.provider == Some("CPU") && hit.form.starts_with("bfc_") {
            let mut verdict = Verdict::of(70, hit);
            verdict.add("the CPU provider is the one that runs: the message is the same for its arena".to_owned());
            return Some(verdict);
        }
        return None;
    }
    if let Some(hit) = facts.hit("signal_killed").filter(|hit| hit.kind == Kind::Ambiguous) {
        let mut verdict = Verdict::of(44, hit);
        verdict.add("the server kills a worker that does not answer in time: slow loading looks the same".to_owned());
        return Some(verdict);
    }
    if let Some(hit) =
        facts.hit("docker_stats").filter(|_| facts.primary.as_ref().is_some_and(|hit| hit.kind == Kind::Trace))
    {
        return Some(Verdict::of(72, hit));
    }
    if facts.has_machine_message() {
        return None;
    }
    if let Some(said) = words!(
        facts,
        r"per-thread scratch|\bmlas\b|\brss\b|\bram %|host (?:memory|ram)|system (?:memory|ram)|cpu (?:memory|ram)|java heap|native memory|off[- ]?heap|anon(?:ymous)? memory|wasm|webassembly|\[(?:js/)?web\]|onnxruntime-web|ort[ -]web|\b(?:pods?|containers?)\b[^.\n]{0,80}(?:killed|\boom|memory limit|out of memory)|posix_memalign|partition_?alloc|\bram\b .{0,20}\bswap\b|swap (?:space|file|memory)|exit code 137|exec_die 137|\boom[- ]kill|\blambda\b|unexpected eof|error reading from server: eof|\beof\b"
    ) {
        return Some(Verdict::words(74, [said]));
    }
    if let Some(said) = words!(
        facts,
        r"(?:keeps?|holds?|stays?|remain\w*|leak\w*|increas\w*|grow\w*|climb\w*|rising|rises|fills?|eats?|consum\w*|us(?:es?|ing|age of)) [^.\n]{0,30}\b(?:ram|working set|private bytes|(?:system|host|cpu|main|physical) memory)\b|\b(?:ram|(?:system|host|cpu|main|physical) memory)\b [^.\n]{0,40}(?:not (?:being )?(?:releas|free|delet|clear)|never|increas|grow|climb|leak|ris(?:es|ing))|\bram consumption|working set|private bytes|resident (?:set|memory)|memory of the (?:process|service|host)|\bvirt memory"
    ) {
        return Some(Verdict::words(72, [said]));
    }
    let card = words!(facts, r"\bgpu|vram|cuda|\bgram\b|video memory|nvidia|graphics|device memory|directml|\bdml\b");
    if card.is_none()
        && let Some(said) = words!(facts, r"\bram\b")
    {
        return Some(Verdict::words(66, [said]));
    }
    if card.is_none()
        && let Some(said) = words!(
            facts,
            r"memory (?:usage|consumption|use|leak)|(?:uses?|using|consum\w+|takes?|grow\w*) .{0,40}(?:memory|\bmb\b|\bgb\b)"
        )
    {
        return Some(Verdict::words(57, [said, "no GPU is spoken of".to_owned()]));
    }
    None
}
