//! A message that was cut before it says why: the arena's function is named, or a node failed
//! with a source path and nothing after it.

use regex::Captures;

use super::{Form, Hit, Kind};

pub(super) const FORMS: &[Form] = &[
    Form {
        id: "bfc_cut",
        kind: Kind::OutOfMemory,
        pattern: r"AllocateRawInternal(?:\([^)]*\)?)?\s*(?P<status>Fail(?:ed)?(?: to(?: all?o?c?)?)?)?\s*(?:\.\.\.|…|\*\*)?",
        refine: at_end_or_in_a_word,
    },
    Form {
        id: "node_failed_cut",
        kind: Kind::Ambiguous,
        pattern: r"Status Message: (?:(?:/|[A-Z]:\\)[\w./\\-]{0,80})?(?:\.\.\.|…)?\s*$",
        refine: at_end,
    },
];

/// The end of the whole text, or of a title that ends in the middle of the message.
fn at_end_or_in_a_word(hit: &mut Hit, found: &Captures<'_>, text: &str) -> bool {
    let rest = &text[hit.end..];
    let is_cut = found.name("status").is_some_and(|said| text[said.end()..].starts_with(char::is_whitespace));
    // A message that is only wrapped goes on with its next word.
    let goes_on = ["ed", "to", "all", "ate", "memory"].iter().any(|word| rest.trim_start().starts_with(word));
    rest.trim().is_empty() || is_cut && !goes_on
}

/// Only the end of the whole text counts.
fn at_end(hit: &mut Hit, _: &Captures<'_>, text: &str) -> bool {
    text[hit.end..].trim().is_empty()
}
