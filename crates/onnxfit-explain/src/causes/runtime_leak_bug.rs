//! A leak of a release that a later one fixed.

use crate::advice::{NOT_EMPTY_CACHE, RECYCLE, UPGRADE};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "runtime_leak_bug",
    meaning: "A leak in the runtime or a kernel, fixed in another release",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[UPGRADE, RECYCLE],
    not_helping: &[NOT_EMPTY_CACHE],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.has_machine_message() {
        return None;
    }
    let said = words!(
        facts,
        r"(?:downgrad\w*|\bdown\b|\bback\b|revert\w*)[^\n]{0,40}\b\d+\.\d+(?:\.\d+)?\b[^\n]{0,30}(?:work|normal|fine|fix|solv|no (?:more )?(?:leak|problem))|(?:since|after) (?:upgrad|updat)\w*.{0,60}(?:leak|memory)|\bregress(?:ion|ions|ed|es)?\b.{0,60}memory|memory.{0,60}\bregress(?:ion|ions|ed|es)?\b|leak.{0,80}(?:fixed in|did not (?:occur|happen) (?:in|with)|not in (?:1|version))|1\.8\.[01]\b.{0,80}leak|leak.{0,80}1\.8\.[01]\b"
    )?;
    words!(facts, r"memory|vram|\bram\b|\boom\b|leak")?;
    Some(Verdict::words(71, [said]))
}
