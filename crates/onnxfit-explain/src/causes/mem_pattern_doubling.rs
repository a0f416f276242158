//! The second run of a shape takes one block of the whole run beside what the first left.

use crate::advice::{MEM_PATTERN_OFF, NOT_EMPTY_CACHE, SMALLER_BATCH, WARM_UP_LARGEST};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "mem_pattern_doubling",
    meaning: "From its second run on, a shape takes one block for the whole run beside what the first run left",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[MEM_PATTERN_OFF, WARM_UP_LARGEST, SMALLER_BATCH],
    not_helping: &[NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.primary.as_ref().is_some_and(|hit| hit.kind == Kind::NotMemory) {
        return None;
    }
    if let Some(hit) = facts.hit("memory_pattern_refused").filter(|_| facts.out_of_memory().is_none()) {
        let mut verdict = Verdict::of(62, hit);
        verdict.add("this alone ends no run: it falls back to one allocation per tensor".to_owned());
        return Some(verdict);
    }
    let said = words!(
        facts,
        r"(?:second|2nd|next|another|following) (?:run|image|call|inference|request|time|iteration|batch|input)\b|after (?:the )?first (?:run|image|call|inference|request)|first (?:run|image|call|inference) (?:works|succeeds|is (?:ok|fine))|mem(?:ory)?[ _]pattern"
    )?;
    let first = words!(facts, r"first|once|initially|mem(?:ory)?[ _]pattern")?;
    // Who has switched it off does not see it.
    let is_off = words!(facts, r"mem_?pattern\W{1,5}(?:false|0)\b|disable_?mem_?pattern").is_some();
    Some(Verdict::words(if is_off { 58 } else { 70 }, [said, first]))
}
