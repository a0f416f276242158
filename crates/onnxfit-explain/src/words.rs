//! Looks for words in what a person wrote around the machine's messages.

/// The first match of a pattern in the prose of the facts, as an excerpt; compiled once.
macro_rules! words {
    ($facts:expr, $pattern:expr) => {{
        static PATTERN: std::sync::LazyLock<Option<regex::Regex>> =
            std::sync::LazyLock::new(|| regex::Regex::new($pattern).ok());
        PATTERN.as_ref().and_then(|pattern| $crate::words::sentence(&$facts.prose, pattern))
    }};
}
pub(crate) use words;

use std::sync::LazyLock;

use regex::Regex;

/// Prose beyond this is not read: no report is that long.
const PROSE_BYTES_MAX: usize = 64 << 10;

static DENIED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let openers = r"\(?\b(?:no|not) (?:the )?(?:gpu|video|device)[- ]?(?:memory|ram)\)?|regardless of|independent(?:ly)? of|irrespective of|(?:isn't|is not) (?:a |an |due |caused |power|data|frag|because)|not due to|not caused by|\bruled out|doesn't depend on";
    Regex::new(&format!(r"(?:{openers})[^.;,\n]{{0,70}}")).ok()
});
static LINKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"https?://\S+").ok());

/// Lower case, without links and without what the writer says it is *not*.
pub(crate) fn prose_of(text: &str) -> String {
    let mut end = text.len().min(PROSE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut prose = text[..end].to_lowercase().replace(['*', '`'], "");
    for pattern in [&LINKS, &DENIED] {
        if let Some(pattern) = pattern.as_ref() {
            prose = pattern.replace_all(&prose, " ").into_owned();
        }
    }
    // What Windows lends to the card is memory of the card.
    prose.replace("shared ram", "shared vram").replace("shared gpu ram", "shared vram")
}

/// What was found, with a few words on either side.
pub(crate) fn sentence(prose: &str, pattern: &Regex) -> Option<String> {
    let found = pattern.find(prose)?;
    let start = prose[..found.start()].char_indices().rev().nth(30).map_or(0, |(at, _)| at);
    let end = prose[found.end()..].char_indices().nth(30).map_or(prose.len(), |(at, _)| found.end() + at);
    Some(format!("the text says \"{}\"", crate::forms::excerpt(&prose[start..end])))
}
