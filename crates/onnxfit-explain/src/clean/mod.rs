//! Undoes what terminals, log collectors and copying did to a message.
//!
//! Two readings come out: `flat` keeps the lines, `joined` glues lines that a terminal or a
//! console box cut at its width. A fact is read from `joined` only if `flat` does not have it,
//! because gluing can also put together what never belonged together.

mod ansi;
mod escapes;
mod prefixes;
mod spread;
mod wrapping;

/// A log after cleaning, in two readings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clean {
    /// The lines as they are, without decoration.
    pub flat: String,
    /// The lines with those cut at the width of a box or terminal put together again.
    pub joined: Option<String>,
    /// What had to be undone, as dialect ids.
    pub dialects: Vec<&'static str>,
}

/// Cleans the kept part of a log.
pub(crate) fn clean(raw: &[u8]) -> Clean {
    let mut dialects = Vec::new();
    let text = String::from_utf8_lossy(raw);
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{c}'], "\n").replace('\0', "");
    let (text, was_spread) = spread::join(&text);
    if was_spread {
        dialects.push("spread");
    }
    let (text, had_ansi) = ansi::strip(&text);
    if had_ansi {
        dialects.push("ansi");
    }
    let (text, was_escaped) = escapes::undo(&text);
    if was_escaped {
        dialects.push("escaped");
    }
    // Escapes may have hidden colour codes and line ends.
    let (text, _) = ansi::strip(&text.replace('\r', "\n"));
    let (flat, prefixes) = prefixes::strip(&text);
    dialects.extend(prefixes);
    let joined = wrapping::join(&flat);
    if joined.is_some() {
        dialects.push("wrapped");
    }
    Clean { flat, joined, dialects }
}
