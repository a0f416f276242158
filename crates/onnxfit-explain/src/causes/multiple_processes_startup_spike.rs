//! Processes that start together all peak at once.

use crate::advice::{LEAVE_HEADROOM, NOT_SMALLER_BATCH, SHARE_SESSION, STAGGER_START};
use crate::explanation::Memory;
use crate::facts::Facts;
use crate::forms::Kind;
use crate::words::words;

use super::{Oom, Rule, Verdict};

pub(crate) const RULE: Rule = Rule {
    id: "multiple_processes_startup_spike",
    meaning: "Several processes load at the same time, and loading peaks above the steady state",
    memory: Memory::Device,
    oom: Oom::AsText,
    judge,
    advice: &[STAGGER_START, SHARE_SESSION, LEAVE_HEADROOM],
    not_helping: &[NOT_SMALLER_BATCH],
};

fn judge(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.primary.as_ref().is_some_and(|hit| hit.kind == Kind::NotMemory) {
        return None;
    }
    let workers = words!(facts, r"\bworkers?\b|processes|gunicorn|uvicorn|multiprocess")?;
    let start = words!(
        facts,
        r"start(?:ing|s|ed)?[ -]?(?:up|ing)?\b.{0,60}(?:same time|together|simultaneous|at once|spike)|(?:same time|together|simultaneous\w*|at once|spike).{0,60}\b(?:start|load|launch|spawn)|stagger"
    )?;
    Some(Verdict::words(73, [workers, start]))
}
