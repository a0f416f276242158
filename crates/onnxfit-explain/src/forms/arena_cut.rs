//! A message that was cut before it says why: the arena's function is named, or a node failed
//! with a source path and nothing after it.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "bfc_cut",
        kind: Kind::OutOfMemory,
        pattern: r"AllocateRawInternal(?:\([^)]*\)?)?\s*(?:\.\.\.|…|\*\*)?\s*$",
        refine: at_end,
    },
    Form {
        id: "node_failed_cut",
        kind: Kind::Ambiguous,
        pattern: r"Status Message: (?:(?:/|[A-Z]:\\)[\w./\\-]{0,80})?(?:\.\.\.|…)?\s*$",
        refine: at_end,
    },
];

/// Only the end of the whole text counts.
fn at_end(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    text[hit.end..].trim().is_empty()
}
