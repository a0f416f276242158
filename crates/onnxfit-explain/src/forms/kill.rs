//! The kernel, a container runtime or a cloud service ended the process.

use super::{Form, Kind, as_is};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "container_killed",
        kind: Kind::OutOfMemory,
        pattern: r#"(?:OOMKilled"?(?:: true)?|OutOfMemoryError: Container killed|(?i:exit(?:ed)?(?: with)?(?: status)?(?: code)?\W{0,3}137\b)|Memory cgroup out of memory|oom-kill:constraint=CONSTRAINT_MEMCG)"#,
        refine: not_false,
    },
    Form {
        id: "kernel_killed",
        kind: Kind::OutOfMemory,
        pattern: r"(?:Out of memory: Killed? process \d+|oom-kill:constraint|oom_reaper: reaped|invoked oom-killer)",
        refine: as_is,
    },
    Form {
        id: "signal_killed",
        kind: Kind::OutOfMemory,
        pattern: r"(?:signal: killed\b|Signal 9 \(SIGKILL\)|was sent SIGKILL! Perhaps out of memory|was terminated due to signal 9\b)",
        refine: unless_too_slow,
    },
];

/// `"OOMKilled": false` is part of every `docker inspect`.
fn not_false(hit: &mut super::Hit, _: &regex::Captures<'_>, text: &str) -> bool {
    let rest = text[hit.end..].trim_start_matches(['"', ':', ' ', '=']);
    !rest.starts_with("false") && !rest.starts_with("False")
}

/// gunicorn asks "Perhaps out of memory?" of every SIGKILL, also of those it sends itself to a
/// worker that did not answer in time.
fn unless_too_slow(hit: &mut super::Hit, _: &regex::Captures<'_>, text: &str) -> bool {
    if text[..hit.at].contains("WORKER TIMEOUT") {
        hit.kind = Kind::Ambiguous;
    }
    true
}
