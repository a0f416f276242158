//! Drops colour codes: real ones, ones written out as text, and ones that lost their escape byte.

use std::sync::LazyLock;

use regex::Regex;

static CODES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let escape = r"(?:\x1b|\\x1b|\\u001b|\\u001B|\\033|\\e|\^\[|\x{241b}|#033)";
    Regex::new(&format!(
        r"(?:{escape}\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\[\d{{1,3}}(?:;\d{{1,3}})*m)"
    ))
    .ok()
});

/// The text without colour codes, and whether there were any.
pub(super) fn strip(text: &str) -> (String, bool) {
    let Some(codes) = CODES.as_ref() else { return (text.to_owned(), false) };
    match codes.replace_all(text, "") {
        std::borrow::Cow::Borrowed(same) => (same.to_owned(), false),
        std::borrow::Cow::Owned(stripped) => (stripped, true),
    }
}
