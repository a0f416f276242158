//! Reads settings out of code, JSON, environment lines and Triton's configuration.
//!
//! Patterns, not parsers: a pasted snippet is rarely whole. What is not understood is left out.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Place, Setting};

struct Reader {
    pattern: &'static str,
    read: fn(&Captures<'_>, &str) -> Option<Setting>,
}

const READERS: &[Reader] = &[
    // so.add_session_config_entry("k", "v"), AddSessionConfigEntry, AddConfigEntry, with_config_entry
    Reader {
        pattern: r#"(?i:add_?session_?config_?entry|session_options\w*\.add_?config_?entry|so\w*\.add_?config_?entry|with_config_entry)\(\s*["']([\w.]+)["']\s*,\s*["']?([^"')\n]*)"#,
        read: |groups, _| Some(setting(Place::SessionEntry, &groups[1], &groups[2])),
    },
    Reader {
        pattern: r#"(?i:add_?run_?config_?entry|run_?options\w*\.add_?config_?entry|ro\w*\.add_?config_?entry)\(\s*["']([\w.]+)["']\s*,\s*["']?([^"')\n]*)"#,
        read: |groups, _| Some(setting(Place::RunEntry, &groups[1], &groups[2])),
    },
    // "key": value, 'key': value, key => value: of a provider's dictionary or of a JSON section.
    Reader { pattern: r#"["']([A-Za-z_][\w.]*)["']\s*(?::|=>)\s*([^,{}\[\]\n]+)"#, read: pair },
    // option["key"] = value
    Reader { pattern: r#"(\w[\w.()]*)(?:\[["']\w+["']\])?\[["']([\w.]+)["']\]\s*=\s*([^=\n][^\n]*)"#, read: subscript },
    // session_options.key = value
    Reader { pattern: r"(?m)\b(\w*)\.([a-z_]\w*)\s*=\s*([^=\n][^\n;]*)", read: attribute },
    // export KEY=value, ENV KEY value, KEY=value at the start of a line, -e KEY=value, os.environ
    Reader {
        pattern: r#"(?m)^\s*(?:export\s+|ENV\s+|set\s+|\$env:|-\s+|-e\s+|environment:\s*)?([A-Za-z_][A-Za-z0-9_]*)=["']?([^\s"']+)["']?(?:\s|$)"#,
        read: variable,
    },
    Reader {
        pattern: r#"(?:os\.)?environ\[["'](\w+)["']\]\s*=\s*["']?([^"'\n]+)|\bputenv\(\s*["'](\w+)["']\s*,\s*["']?([^"')\n]+)|docker run[^\n]*?-e\s+(\w+)=(\S+)"#,
        read: |groups, _| {
            let pick = |a: usize, b: usize| Some((groups.get(a)?.as_str(), groups.get(b)?.as_str()));
            let (key, value) = pick(1, 2).or_else(|| pick(3, 4)).or_else(|| pick(5, 6))?;
            Some(setting(Place::Environment, key, value))
        },
    },
    // parameters { key: "k" value: { string_value: "v" } } and parameters { key: "k" value: "v" }
    Reader {
        pattern: r#"key:\s*"([^"]+)"[\s,]*value:\s*(?:\{\s*string_value:\s*)?"([^"]*)""#,
        read: |groups, before| {
            let accelerator = before.rfind("execution_accelerator").is_some_and(|at| is_open(&before[at..]));
            let place = if accelerator { Place::ProviderOption } else { Place::TritonParameter };
            Some(setting(place, &groups[1], &groups[2]))
        },
    },
];

/// Whether more braces are opened than closed.
fn is_open(text: &str) -> bool {
    let count = |braces: [char; 2]| text.matches(braces).count();
    count(['{', '[']) > count(['}', ']'])
}

static COMPILED: LazyLock<Vec<(Regex, &'static Reader)>> =
    LazyLock::new(|| READERS.iter().filter_map(|reader| Some((Regex::new(reader.pattern).ok()?, reader))).collect());

/// Settings beyond this are not read: no session has that many.
const SETTINGS_MAX: usize = 500;
const TEXT_BYTES_MAX: usize = 256 << 10;

/// The settings in a text, in order.
pub(crate) fn read_settings(text: &str) -> Vec<Setting> {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let mut found: Vec<(usize, Setting)> = Vec::new();
    for (pattern, reader) in COMPILED.iter() {
        for groups in pattern.captures_iter(text).take(SETTINGS_MAX) {
            let at = groups.get(0).map_or(0, |whole| whole.start());
            if let Some(setting) = (reader.read)(&groups, before(text, at)) {
                found.push((at, setting));
            }
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().map(|(_, setting)| setting).collect()
}

/// What stands before a place, as far as a section's head can be.
fn before(text: &str, at: usize) -> &str {
    let mut start = at.saturating_sub(2000);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..at]
}

fn setting(place: Place, key: &str, value: &str) -> Setting {
    let value = value.trim().trim_end_matches(';').trim_end_matches(',').trim();
    let value = value.trim_matches(['"', '\'']).trim();
    Setting { place, key: key.to_owned(), value: value.to_owned(), provider: None }
}

const PROVIDERS: &[&str] =
    &["CUDAExecutionProvider", "TensorrtExecutionProvider", "ROCMExecutionProvider", "CPUExecutionProvider"];

/// A pair of a dictionary: the nearest head before it says whose.
fn pair(groups: &Captures<'_>, before: &str) -> Option<Setting> {
    let (key, value) = (&groups[1], &groups[2]);
    if value.trim().is_empty() || PROVIDERS.contains(&key) {
        return None;
    }
    let last = |words: &[&str]| words.iter().filter_map(|word| before.rfind(word)).max();
    let provider = PROVIDERS.iter().filter_map(|name| Some((before.rfind(name)?, *name))).max();
    let heads = [
        (last(&["\"session_options\"", "'session_options'"]), Place::SessionAttribute),
        (last(&["\"run_options\"", "'run_options'"]), Place::RunEntry),
        (last(&["\"session_config\"", "\"config_entries\"", "'session_config'"]), Place::SessionEntry),
        (
            last(&["provider_options", "providers=", "providers ="]).max(provider.map(|(at, _)| at)),
            Place::ProviderOption,
        ),
    ];
    let nearest = heads.into_iter().filter_map(|(at, place)| Some((at?, place))).max_by_key(|(at, _)| *at);
    let known = super::known::is_provider_option(key) || super::known::is_old_name(key);
    let place = match nearest {
        Some((_, Place::SessionAttribute)) if key.contains('.') => Place::SessionEntry,
        Some((_, place)) => place,
        None if known => Place::ProviderOption,
        None => return None,
    };
    let mut setting = setting(place, key, value);
    setting.provider = provider.filter(|_| place == Place::ProviderOption).map(|(_, name)| name.to_owned());
    Some(setting)
}

/// `options["key"] = value`: of a provider, or of a copy that changes nothing.
fn subscript(groups: &Captures<'_>, before: &str) -> Option<Setting> {
    let (owner, key, value) = (&groups[1], &groups[2], &groups[3]);
    if owner.contains("environ") {
        return None;
    }
    let base = owner.split(['.', '(', '[']).next().unwrap_or(owner);
    let copied = owner.contains("get_provider_options")
        || before
            .lines()
            .any(|line| line.contains("get_provider_options()") && starts_with_word(line.trim_start(), base));
    let known = super::known::is_provider_option(key) || super::known::is_old_name(key);
    let place = if copied { Place::ProviderOptionsCopy } else { Place::ProviderOption };
    known.then(|| setting(place, key, value))
}

fn starts_with_word(line: &str, word: &str) -> bool {
    line.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// `so.key = value`: only owners that are options by their name, or keys that are options.
fn attribute(groups: &Captures<'_>, before: &str) -> Option<Setting> {
    let (owner, key, value) = (groups[1].to_lowercase(), &groups[2], &groups[3]);
    let declared = ["OrtCUDAProviderOptions", "OrtCUDAProviderOptionsV2*", "OrtTensorRTProviderOptions", "OrtArenaCfg"];
    let of_a_provider = declared
        .iter()
        .any(|kind| before.split(kind).skip(1).any(|rest| starts_with_word(rest.trim_start(), &groups[1])));
    if of_a_provider || owner.contains("cuda") || owner.contains("trt") || owner.contains("arena") {
        return Some(setting(Place::ProviderOption, key, value));
    }
    if owner == "ro" || owner.contains("run_opt") || owner.contains("runopt") {
        return Some(setting(Place::RunAttribute, key, value));
    }
    let options = owner == "so"
        || owner == "opts"
        || owner == "sess_opt"
        || owner.contains("sess") && owner.contains("opt")
        || owner == "options";
    let meant = super::known::is_provider_option(key) || super::known::is_old_name(key) || key == "enable_fp16";
    (options || meant && !owner.is_empty()).then(|| setting(Place::SessionAttribute, key, value))
}

/// An environment variable: of the runtime or of CUDA by its name, or an option in disguise.
fn variable(groups: &Captures<'_>, _: &str) -> Option<Setting> {
    let (key, value) = (&groups[1], &groups[2]);
    let lower = key.to_lowercase();
    let upper = key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let option = super::known::option_in_disguise(&lower).is_some();
    (upper && (option || super::known::is_variable(key))).then(|| setting(Place::Environment, key, value))
}
