//! The driver or the architecture of the GPU does not go with this build.

use crate::advice::{MATCH_LIBRARIES, NOT_MORE_MEMORY, RIGHT_WHEEL};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_driver_or_arch",
    meaning: "The driver is too old or the GPU is not one that this build or library supports",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[RIGHT_WHEEL, MATCH_LIBRARIES],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    let hit = facts.primary.as_ref().filter(|hit| matches!(hit.kind, Kind::NotMemory | Kind::Ambiguous))?;
    let status = hit.status.to_ascii_lowercase();
    let words = [
        "driver version",
        "insufficient for cuda",
        "insufficientdriver",
        "arch_mismatch",
        "unsupported toolchain",
        "forward compatibility",
        "invalid argument",
        "invaliddevicefunction",
        "not_supported",
        "system not yet initialized",
        "invalid device",
    ];
    if hit.form == "driver_or_arch" || words.iter().any(|word| status.contains(word)) {
        return Some(Verdict::of(if hit.kind == Kind::NotMemory { 88 } else { 60 }, hit));
    }
    // A matrix product that fails while it runs, with its handle already made: no memory is asked for there.
    let gemm = hit.library.as_deref() == Some("CUBLAS") && status.contains("execution_failed");
    gemm.then(|| Verdict::of(62, hit))
}
