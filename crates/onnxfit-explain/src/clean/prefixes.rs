//! Drops what log collectors put in front of every line: docker, docker compose, Kubernetes,
//! CloudWatch, journald.

use std::sync::LazyLock;

use regex::Regex;

struct Prefix {
    dialect: &'static str,
    pattern: &'static str,
}

const PREFIXES: &[Prefix] = &[
    Prefix { dialect: "compose", pattern: r"^[A-Za-z0-9][\w.-]*\s+\|\s" },
    Prefix { dialect: "kubernetes", pattern: r"^\[pod/[^\]]+\]\s?" },
    Prefix { dialect: "kubernetes", pattern: r"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d) (?:stdout|stderr) [FP] " },
    Prefix { dialect: "docker", pattern: r"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)\s+" },
    Prefix { dialect: "cloudwatch", pattern: r"^\d{13}[\t ,]+" },
    Prefix { dialect: "journald", pattern: r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ [\w.@/-]+(?:\[\d+\])?: " },
];

static COMPILED: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    let compiled = PREFIXES.iter().map(|prefix| Some((prefix.dialect, Regex::new(prefix.pattern).ok()?)));
    compiled.flatten().collect()
});

/// The text without such prefixes, and the dialects that were seen.
pub(super) fn strip(text: &str) -> (String, Vec<&'static str>) {
    let mut out = String::with_capacity(text.len());
    let mut seen = std::collections::BTreeSet::new();
    for line in text.split('\n') {
        let mut line = line;
        let mut partial = false;
        for (dialect, pattern) in COMPILED.iter() {
            if let Some(found) = pattern.find(line) {
                partial |= *dialect == "kubernetes" && found.as_str().ends_with(" P ");
                line = &line[found.end()..];
                seen.insert(*dialect);
            }
        }
        out.push_str(line);
        // The container runtime splits a long line at 16 KiB and marks the pieces as partial.
        if !partial {
            out.push('\n');
        }
    }
    (out, seen.into_iter().collect())
}
