//! A reload keeps the old session beside the new one.

use crate::advice::{CLOSE_OPTIONS, NOT_EMPTY_CACHE, NOT_SMALLER_BATCH, RECYCLE, SHARE_SESSION};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "session_reload_leak",
    meaning: "Each reload leaves something of the old session behind, or holds both for a while",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[CLOSE_OPTIONS, SHARE_SESSION, RECYCLE],
    not_helping: &[NOT_EMPTY_CACHE, NOT_SMALLER_BATCH],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.has_machine_message() {
        return None;
    }
    let said = words!(
        facts,
        r"re-?load(?:s|ed|ing|model)?\b|(?:re-?)?creat\w+ (?:and (?:destroy|releas|dispos|clos)\w+|(?:a )?(?:new )?sessions? (?:repeatedly|every|each|multiple))|(?:each|every) (?:time|new) .{0,40}(?:session|reload|load)|(?:initiali[sz]\w*|creat\w*|load\w*|open\w*) (?:\w+ ){0,3}(?:sessions?|models?) (?:\w+ )?(?:repeatedly|(?:many|multiple|several) times|in a loop|over and over|again and again)|repeatedly (?:creat|initiali[sz]|load|open)\w*|releasesession|del sess(?:ion)?s?\b|dispos\w+ .{0,80}(?:session|engine|predictor|model|transformer)|\b(?:unload\w*|load(?:ing|_model| model))\b[^.\n]{0,40}\bleak|\bleak\w*[^.\n]{0,40}\b(?:unload\w*|load(?:ing|_model| model))\b|swap(?:ping)? models?|switch(?:ing)? models?"
    )?;
    Some(Verdict::words(70, [said]))
}
