//! Undoes `F a i l e d  t o`: two bytes a character shown as one character and one blank each.
//!
//! Windows writes such text (UTF-16) and what reads it byte by byte prints a blank for every zero.

/// Characters a run must have at least: shorter ones are lists or grids.
const CHARACTERS_MIN: usize = 24;

/// The text with spread runs put together, and whether there were any.
pub(super) fn join(text: &str) -> (String, bool) {
    let mut out = String::with_capacity(text.len());
    let mut any = false;
    for line in text.split_inclusive('\n') {
        match joined(line) {
            Some(line) => {
                out.push_str(&line);
                any = true;
            }
            None => out.push_str(line),
        }
    }
    (out, any)
}

fn joined(line: &str) -> Option<String> {
    let blanks = line.bytes().filter(|byte| *byte == b' ').count();
    if blanks < CHARACTERS_MIN {
        return None;
    }
    let mut out = String::with_capacity(line.len());
    let mut any = false;
    let mut rest = line;
    while !rest.is_empty() {
        let (run, end) = run_at(rest);
        let letters = run.iter().filter(|c| c.is_ascii_alphabetic()).count();
        let characters = run.iter().filter(|c| **c != ' ').count();
        if characters >= CHARACTERS_MIN && letters * 2 >= characters {
            out.extend(run);
            any = true;
        } else {
            out.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    any.then_some(out)
}

/// Characters that stand alone from here on, words parted by one blank each, and where they end;
/// at least one word of the text is passed.
fn run_at(text: &str) -> (Vec<char>, usize) {
    let mut run = Vec::new();
    let mut at = 0;
    loop {
        let blanks = text[at..].len() - text[at..].trim_start_matches(' ').len();
        let word = at + blanks;
        let length = text[word..].find([' ', '\n']).unwrap_or(text.len() - word);
        let mut characters = text[word..word + length].chars();
        match (characters.next(), characters.next()) {
            (Some(only), None) => {
                if blanks > 1 && !run.is_empty() {
                    run.push(' ');
                }
                run.push(only);
                at = word + length;
            }
            _ if run.is_empty() => return (run, (word + length.max(1)).min(text.len())),
            _ => return (run, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn puts_spread_letters_together() {
        let whole = "Failed to allocate memory for size 1430";
        let spread: String = whole.chars().flat_map(|c| [c, ' ']).collect();
        // A browser folds three blanks into two.
        for spread in [spread.trim_end().to_owned(), spread.trim_end().replace("   ", "  ")] {
            assert_eq!(join(&format!("before\n{spread}\nafter")).0, format!("before\n{whole}\nafter"));
        }
    }

    #[test]
    fn leaves_words_lists_and_grids_alone() {
        for text in [
            "a b c d e f g and so on for a while in ordinary words",
            "0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1",
            "                                        indented",
        ] {
            assert_eq!(join(text), (text.to_owned(), false));
        }
    }
}
