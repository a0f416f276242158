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

/// Words of Chinese reports, in which many are written, longest first; the patterns are English.
const CHINESE: &[(&str, &str)] = &[
    ("内存泄漏", "memory leak"),
    ("内存泄露", "memory leak"),
    ("显存溢出", "vram out of memory"),
    ("内存溢出", "memory out of memory"),
    ("显存不足", "not enough vram"),
    ("内存不足", "not enough memory"),
    ("无法释放", "cannot release"),
    ("没有释放", "not released"),
    ("不释放", "not released"),
    ("不会下降", "does not go down"),
    ("一直", "keeps"),
    ("持续", "continuously"),
    ("显存", "vram"),
    ("显卡", "gpu"),
    ("内存", "memory"),
    ("释放", "release"),
    ("增长", "growing"),
    ("上涨", "growing"),
    ("增加", "increasing"),
    ("爆掉", "out of memory"),
    ("多线程", "multiple threads"),
    ("并发", "concurrent"),
    ("多进程", "multiple processes"),
    ("批量", "batch"),
    ("占用", "occupied by"),
    ("报错", "error"),
];

/// Lower case, without links and without what the writer says it is *not*.
pub(crate) fn prose_of(text: &str) -> String {
    let mut end = text.len().min(PROSE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut prose = text[..end].to_lowercase().replace(['*', '`'], "");
    if !prose.is_ascii() {
        for (chinese, english) in CHINESE {
            prose = prose.replace(chinese, &format!(" {english} "));
        }
    }
    for pattern in [&LINKS, &DENIED] {
        if let Some(pattern) = pattern.as_ref() {
            prose = pattern.replace_all(&prose, " ").into_owned();
        }
    }
    // What Windows lends to the card is memory of the card.
    prose.replace("shared ram", "shared vram").replace("gpu ram", "vram").replace("video ram", "vram")
}

/// What was found, with a few words on either side.
pub(crate) fn sentence(prose: &str, pattern: &Regex) -> Option<String> {
    let found = pattern.find(prose)?;
    let start = prose[..found.start()].char_indices().rev().nth(30).map_or(0, |(at, _)| at);
    let end = prose[found.end()..].char_indices().nth(30).map_or(prose.len(), |(at, _)| found.end() + at);
    Some(format!("the text says \"{}\"", crate::forms::excerpt(&prose[start..end])))
}
