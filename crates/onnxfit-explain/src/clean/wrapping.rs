//! Puts together lines that a terminal or a console box cut at its width.

const BORDERS: &[char] = &['│', '┃', '║', '|', '╭', '╰', '╮', '╯', '─', '━', '┏', '┗', '┓', '┛', '┡', '┩'];
const WIDTH_MIN: usize = 24;
const WIDTH_MAX: usize = 400;

/// The text with cut lines glued; `None` if nothing looks cut.
pub(super) fn join(flat: &str) -> Option<String> {
    let lines: Vec<&str> = flat.split('\n').collect();
    let widths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
    let mut out = String::with_capacity(flat.len());
    let mut glued = false;
    for (index, line) in lines.iter().enumerate() {
        let boxed = line.trim_start().starts_with(BORDERS) && line.trim_end().ends_with(BORDERS);
        let inner = if boxed { unboxed(line) } else { line };
        let inner = if index == 0 || out.ends_with('\n') { inner } else { inner.trim_start() };
        out.push_str(inner);
        let next = lines.get(index + 1).copied().unwrap_or("");
        if is_full(index, &widths, boxed) && continues(next) {
            glued = true;
        } else {
            out.push('\n');
        }
    }
    glued.then(|| collapse_spaces(&out))
}

/// What stands between the borders: a box sets one space on either side.
fn unboxed(line: &str) -> &str {
    let inner = line.trim().trim_matches(BORDERS);
    inner.strip_suffix(' ').unwrap_or(inner)
}

/// A line as wide as a neighbour, or wider than all near it, was filled to the width.
fn is_full(index: usize, widths: &[usize], boxed: bool) -> bool {
    let width = widths[index];
    if !(WIDTH_MIN..=WIDTH_MAX).contains(&width) {
        return false;
    }
    let near = &widths[index.saturating_sub(6)..(index + 7).min(widths.len())];
    let widest = near.iter().copied().max().unwrap_or(0);
    let peers = near.iter().filter(|other| **other + 1 >= widest).count();
    boxed || (width + 1 >= widest && (peers >= 2 || widths.len() <= 4))
}

/// Whether this line can go on with the one before: a new log record cannot.
fn continues(next: &str) -> bool {
    let next = next.trim_start().trim_start_matches(BORDERS).trim_start();
    if next.is_empty() {
        return false;
    }
    let dated = next.len() >= 5 && next.as_bytes()[..4].iter().all(u8::is_ascii_digit) && next.as_bytes()[4] == b'-';
    !dated && !next.starts_with('[') && !next.starts_with("Traceback") && !next.starts_with("File \"")
}

fn collapse_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let space = c == ' ' || c == '\t';
        if !(space && out.ends_with([' ', '\n'])) {
            out.push(if space { ' ' } else { c });
        }
    }
    out
}
