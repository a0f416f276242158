//! The lines of a log that were kept, in order.

/// One kept line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The bytes, without the line end.
    pub text: Vec<u8>,
    /// Whether the line ended here, or was cut because it is long.
    pub ended: bool,
    /// How often a line that differs only in numbers was seen.
    pub repeats: u64,
}

/// The kept part of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The lines, in order.
    pub lines: Vec<Line>,
}

impl Evidence {
    /// The kept lines as one text.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for line in &self.lines {
            text.extend_from_slice(&line.text);
            if line.ended {
                text.push(b'\n');
            }
        }
        text
    }

    /// How often the line with this piece of text was seen.
    pub(crate) fn repeats_of(&self, piece: &str) -> u64 {
        let Some(needle) = longest_run(piece) else { return 1 };
        let finder = memchr::memmem::Finder::new(needle);
        let same = self.lines.iter().filter(|line| finder.find(&line.text).is_some());
        let seen: std::collections::BTreeMap<_, _> =
            same.map(|line| (without_digits(&line.text), line.repeats)).collect();
        seen.values().sum::<u64>().max(1)
    }
}

/// The longest stretch without white space or digits: what a line keeps through cleaning.
fn longest_run(piece: &str) -> Option<&[u8]> {
    let runs = piece.split(|c: char| c.is_ascii_digit() || matches!(c, '\\' | '"' | '\n' | '\''));
    runs.map(str::trim).filter(|run| run.len() >= 8).max_by_key(|run| run.len()).map(str::as_bytes)
}

fn without_digits(line: &[u8]) -> Vec<u8> {
    line.iter().copied().filter(|byte| !byte.is_ascii_digit()).collect()
}
