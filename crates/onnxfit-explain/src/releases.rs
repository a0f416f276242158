//! Dates a log by the line of the source that printed it.
//!
//! From reports that state their release (see the facts on throw sites); a line number that is
//! not in the table says nothing.

use std::sync::LazyLock;

use regex::Regex;

const THROW_SITES: &[(&str, u32, &str)] = &[
    ("bfc_arena.cc", 330, "1.8 to 1.9"),
    ("bfc_arena.cc", 331, "1.8 to 1.9"),
    ("bfc_arena.cc", 342, "about 1.10 to 1.13"),
    ("bfc_arena.cc", 368, "1.14 to 1.15"),
    ("bfc_arena.cc", 376, "1.16 to 1.19"),
    ("bfc_arena.cc", 358, "about 1.23 or later"),
    ("bfc_arena.cc", 359, "about 1.23 or later"),
    ("bfc_arena.cc", 360, "1.31"),
];

static SITE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(bfc_arena\.cc):(\d{2,4})").ok());
static STATED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:onnxruntime(?:[-_](?:gpu|web|genai|directml))?|ORT)\s*(?:==|@|version:?|v)?\s*v?(\d+\.\d+(?:\.\d+)?)\b").ok()
});

/// What the log says about the release of ONNX Runtime.
pub(crate) fn releases_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(stated) = STATED.as_ref() {
        for groups in stated.captures_iter(text).take(8) {
            found.push(format!("ONNX Runtime {} (stated)", &groups[1]));
        }
    }
    if let Some(site) = SITE.as_ref() {
        for groups in site.captures_iter(text).take(8) {
            let line = groups[2].parse().unwrap_or(0);
            let known = THROW_SITES.iter().find(|(file, number, _)| *file == &groups[1] && *number == line);
            if let Some((file, number, releases)) = known {
                found.push(format!("ONNX Runtime {releases} (by {file}:{number})"));
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|text| seen.insert(text.clone()));
    found
}
