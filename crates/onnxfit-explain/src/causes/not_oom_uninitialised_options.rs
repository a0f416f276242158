//! A struct of options that nobody filled in.

use crate::advice::{INIT_STRUCT, NOT_MORE_MEMORY};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "not_oom_uninitialised_options",
    meaning: "A struct of options was used without being set, so its limits are whatever was in memory",
    memory: Memory::Unknown,
    oom: Oom::No,
    judge,
    advice: &[INIT_STRUCT],
    not_helping: &[NOT_MORE_MEMORY],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    // An enumeration of the options with a number that no build has.
    if let Some(hit) = facts.hit("unknown_option_value") {
        return Some(Verdict::of(82, hit));
    }
    let lower = facts.text.to_lowercase();
    let structure = lower.contains("ortcudaprovideroptions");
    let unset =
        ["uninitiali", "not initiali", "garbage value", "memset", "zero-init"].iter().any(|word| lower.contains(word));
    (structure && unset && facts.first(Kind::NotMemory).is_none())
        .then(|| Verdict::words(84, ["the struct of options is spoken of as not initialised".to_owned()]))
}
