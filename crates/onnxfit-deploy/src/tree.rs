//! A document of maps, lists and scalars, written as YAML or as JSON, its order kept.
//!
//! Texts are always quoted as JSON quotes them, which YAML reads the same.

use std::fmt::Write;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Text(String),
    Number(u64),
    Bool(bool),
}

/// A map, its keys in this order.
pub(crate) fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    Tree::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Tree {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<Tree>> for Tree {
    fn from(list: Vec<Tree>) -> Self {
        Self::List(list)
    }
}

impl Tree {
    /// As one YAML document.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.yaml(&mut out, 0, false);
        out
    }

    /// As JSON, two spaces a level.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        self.json(&mut out, 0);
        out.push('\n');
        out
    }

    /// Writes from where the caller stands; `inline` behind a `- `, whose first line needs no indent.
    fn yaml(&self, out: &mut String, depth: usize, inline: bool) {
        let mut first = inline;
        let mut line = |out: &mut String, text: &str| {
            if !std::mem::take(&mut first) {
                out.push_str(&"  ".repeat(depth));
            }
            out.push_str(text);
        };
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    line(out, &format!("{}:", yaml_key(key)));
                    if value.is_block() {
                        out.push('\n');
                        value.yaml(out, depth + 1, false);
                    } else {
                        out.push_str(&format!(" {}\n", value.scalar()));
                    }
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    line(out, "- ");
                    if item.is_block() {
                        item.yaml(out, depth + 1, true);
                    } else {
                        out.push_str(&format!("{}\n", item.scalar()));
                    }
                }
            }
            scalar => out.push_str(&format!("{}\n", scalar.scalar())),
        }
    }

    fn is_block(&self) -> bool {
        match self {
            Self::Map(entries) => !entries.is_empty(),
            Self::List(items) => !items.is_empty(),
            _ => false,
        }
    }

    fn scalar(&self) -> String {
        match self {
            Self::Map(_) => "{}".to_owned(),
            Self::List(_) => "[]".to_owned(),
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
        }
    }

    fn json(&self, out: &mut String, depth: usize) {
        let indent = |depth: usize| "  ".repeat(depth);
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                out.push_str("{\n");
                for (index, (key, value)) in entries.iter().enumerate() {
                    out.push_str(&format!("{}{}: ", indent(depth + 1), quoted(key)));
                    value.json(out, depth + 1);
                    out.push_str(if index + 1 < entries.len() { ",\n" } else { "\n" });
                }
                out.push_str(&format!("{}}}", indent(depth)));
            }
            Self::List(items) if !items.is_empty() => {
                out.push_str("[\n");
                for (index, item) in items.iter().enumerate() {
                    out.push_str(&indent(depth + 1));
                    item.json(out, depth + 1);
                    out.push_str(if index + 1 < items.len() { ",\n" } else { "\n" });
                }
                out.push_str(&format!("{}]", indent(depth)));
            }
            scalar => out.push_str(&scalar.scalar()),
        }
    }
}

/// A key as YAML reads it back; those that look like nothing else stay bare.
fn yaml_key(key: &str) -> String {
    let is_bare = key.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '/' | '_'))
        && !matches!(
            key.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A text as JSON quotes it; protobuf's text format and YAML read it the same.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            letter if u32::from(letter) < 0x20 => {
                write!(quoted, "\\u{:04x}", u32::from(letter)).expect("a string takes all that is written to it");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_maps_and_odd_texts_are_written() {
        let tree = map([
            ("a", Tree::from(vec![map([("b", Tree::from(1)), ("c", "x: \"y\"\n".into())]), "no".into()])),
            ("on", map([])),
            ("d/e.f", Tree::Bool(true)),
        ]);
        assert_eq!(tree.to_yaml(), "a:\n  - b: 1\n    c: \"x: \\\"y\\\"\\n\"\n  - \"no\"\n\"on\": {}\nd/e.f: true\n");
        assert!(tree.to_json().starts_with("{\n  \"a\": [\n    {\n      \"b\": 1,\n"));
    }
}
