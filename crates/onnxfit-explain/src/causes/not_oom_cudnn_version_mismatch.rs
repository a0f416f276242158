//! The libraries are there and do not belong together.

use crate::advice::{MATCH_LIBRARIES, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_cudnn_version_mismatch",
    meaning: "CUDA libraries of versions that do not belong together",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[MATCH_LIBRARIES],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if let Some(hit) =
        facts.primary.as_ref().filter(|hit| hit.kind != Kind::OutOfMemory && hit.status.contains("VERSION_MISMATCH"))
    {
        return Some(Verdict::of(93, hit));
    }
    let refused = |hit: &&crate::forms::Hit| hit.status.contains("BAD_PARAM") || hit.status.contains("INVALID_VALUE");
    if let Some(hit) = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory).filter(refused) {
        let mut verdict = Verdict::of(64, hit);
        verdict.add("the library refused the call's arguments; memory was not asked for".to_owned());
        return Some(verdict);
    }
    let hit = facts.primary.as_ref().filter(|hit| hit.kind == Kind::NotMemory && hit.form.starts_with("ep_"))?;
    let said = words!(facts, r"mismatch|incompatible (?:cudnn|cuda|cublas)|compiled (?:with|against) .{0,40}but|(?:cudnn|cublas)\w* .{0,20}(?:pair|different version)").or_else(|| {
        let text = facts.text.to_lowercase();
        ["that pair", "version mismatch", "compiled against"].iter().find(|word| text.contains(**word)).map(|word| format!("the text says \"{word}\""))
    })?;
    let mut verdict = Verdict::of(94, hit);
    verdict.add(said);
    Some(verdict)
}
