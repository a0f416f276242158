//! Memory was asked for while a CUDA graph was captured.

use crate::advice::{GRAPH_OFF, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_cuda_graph_capture",
    meaning: "Device memory cannot be allocated while a CUDA graph is captured; the card is not full",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[GRAPH_OFF],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let sign = facts
        .hit("cuda_graph_capture")
        .or_else(|| facts.primary.as_ref().filter(|hit| hit.status.to_lowercase().contains("captur")));
    let by_option = facts.context.options.is_some_and(|options| {
        crate::lint::value_in(options, "enable_cuda_graph")
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    });
    if facts.is("bfc_available_memory") {
        return None;
    }
    match sign {
        Some(hit) => Some(Verdict::of(90, hit)),
        None if by_option && facts.out_of_memory().is_some() => {
            Some(Verdict::words(82, ["the options turn the CUDA graph on".to_owned()]))
        }
        None => None,
    }
}
