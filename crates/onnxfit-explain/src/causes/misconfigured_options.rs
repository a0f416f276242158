//! An option is written where ONNX Runtime does not read it.

use crate::advice::{CHECK_MODEL, NOT_EMPTY_CACHE, NOT_LOWER_LIMIT, RAISE_LIMIT, SET_AT_CREATION};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "misconfigured_options",
    meaning: "An option is written where it is not read, under an old name, or with a value that does nothing",
    memory: Memory::Unknown,
    oom: Oom::AsConfig,
    judge,
    advice: &[SET_AT_CREATION, RAISE_LIMIT, CHECK_MODEL],
    not_helping: &[NOT_LOWER_LIMIT, NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) = facts.primary.as_ref().filter(|hit| hit.form == "unknown_provider_option") {
        let mut verdict = Verdict::of(92, hit);
        verdict.add(format!("this release has no option of the name `{}`", hit.status));
        return Some(verdict);
    }
    if facts.has_machine_message() {
        return None;
    }
    let settings = crate::lint::lint_options(&facts.text);
    let wrong = settings.iter().find(|finding| finding.severity >= onnxfit_base::Severity::Warning);
    if let Some(finding) = wrong {
        return Some(Verdict::words(83, [finding.message.clone()]));
    }
    if let Some(said) = words!(
        facts,
        r"(?:gpu_mem_limit|arena_extend_strategy|cudnn_conv\w*|mem_limit).{0,60}(?:no effect|not (?:work|respect|honou?r|enforc|appl)|ignored|does nothing|doesn't work)|(?:no effect|ignored|not respected|not enforced).{0,60}(?:gpu_mem_limit|arena_extend_strategy|mem_limit)"
    ) {
        return Some(Verdict::words(72, [said]));
    }
    // Nothing but options was shown: whoever shows them wonders why they do nothing.
    let only_options =
        crate::lint::limit_in(&facts.text, "gpu_mem_limit").is_some() && facts.text.split_whitespace().count() < 30;
    only_options.then(|| {
        Verdict::words(
            50,
            ["the text is an option that limits the arena; part of the memory is never checked against it".to_owned()],
        )
    })
}
