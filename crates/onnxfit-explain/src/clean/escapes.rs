//! Undoes backslash escapes of JSON, `repr` and Rust's `Debug`, nested up to three deep, HTML
//! entities and typographic quotes.

const DEPTH_MAX: usize = 3;

/// The text without escapes, and whether there were any.
pub(super) fn undo(text: &str) -> (String, bool) {
    let mut text = without_entities(text);
    let mut any = false;
    for _ in 0..DEPTH_MAX {
        if !is_escaped(&text) {
            break;
        }
        text = undo_once(&text);
        any = true;
    }
    (text, any)
}

/// A lone backslash may be a Windows path; an escaped quote or backslash is no path.
fn is_escaped(text: &str) -> bool {
    ["\\\"", "\\'", "\\\\", "\\u00"].iter().any(|mark| text.contains(mark))
        // `...\n", ptr: 0x..` of Rust's Debug, and a line end before a capital word.
        || text.contains("\\n\"")
        || text.contains("\\n ")
        || text.split("\\n").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '['))
}

fn undo_once(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.peek() {
            Some('n' | 'r') => {
                rest.next();
                out.push('\n');
            }
            Some('t') => {
                rest.next();
                out.push(' ');
            }
            Some(quoted @ ('"' | '\'' | '\\' | '/')) => {
                out.push(*quoted);
                rest.next();
            }
            Some('u') => {
                let code: String = rest.clone().skip(1).take(4).collect();
                match u32::from_str_radix(&code, 16).ok().and_then(char::from_u32) {
                    Some(decoded) if code.len() == 4 => {
                        out.push(decoded);
                        rest.nth(4);
                    }
                    _ => out.push('\\'),
                }
            }
            _ => out.push('\\'),
        }
    }
    out
}

fn without_entities(text: &str) -> String {
    const PAIRS: &[(&str, &str)] = &[
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
        ("\u{2018}", "'"),
        ("\u{2019}", "'"),
        ("\u{201c}", "\""),
        ("\u{201d}", "\""),
        ("\u{a0}", " "),
        ("\u{200b}", ""),
    ];
    let mut text = text.to_owned();
    for (from, to) in PAIRS {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text
}
