//! Reads the comma-separated tables that are compiled into this crate.
//!
//! The tables are ours and tests read every cell, so a malformed one is a broken promise of our
//! own and panics with its place.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use onnxfit_base::Bytes;

/// One row, by column name.
pub(crate) struct Row {
    columns: Arc<[String]>,
    cells: Vec<String>,
}

/// The rows under the header of `text`.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Row> {
    let mut lines = text.lines().filter(|line| !line.is_empty()).map(split);
    let columns: Arc<[String]> = lines.next().expect("a table has a header").into();
    lines.map(move |cells| {
        assert_eq!(cells.len(), columns.len(), "a row has a cell for each column: {cells:?}");
        Row { columns: Arc::clone(&columns), cells }
    })
}

impl Row {
    /// A cell; empty where nothing is known.
    pub(crate) fn text(&self, column: &str) -> String {
        let position = self.columns.iter().position(|name| name == column);
        let position = position.unwrap_or_else(|| panic!("a table has a column `{column}`"));
        self.cells[position].clone()
    }

    /// A cell that may be empty.
    pub(crate) fn maybe<T: FromStr<Err: Display>>(&self, column: &str) -> Option<T> {
        let text = self.text(column);
        if text.is_empty() {
            return None;
        }
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => panic!("`{column}` of row `{}` is readable: {error}", self.cells[0]),
        }
    }

    /// A cell that is never empty.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, column: &str) -> T {
        self.maybe(column).unwrap_or_else(|| panic!("`{column}` of row `{}` is filled", self.cells[0]))
    }

    /// A cell in mebibytes, which may be empty.
    pub(crate) fn maybe_mib(&self, column: &str) -> Option<Bytes> {
        self.maybe(column).map(Bytes::mib)
    }

    /// A cell that says `y` or `n`.
    pub(crate) fn flag(&self, column: &str) -> bool {
        self.text(column) == "y"
    }
}

/// The cells of one line; a quoted cell may hold commas and doubled quotes, never a line break.
fn split(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                push(&mut cells, '"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            _ => push(&mut cells, letter),
        }
    }
    cells
}

fn push(cells: &mut [String], letter: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_cell_keeps_its_commas_and_quotes() {
        assert_eq!(split(r#"a,"b, ""c""",,d"#), ["a", r#"b, "c""#, "", "d"]);
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn cells_are_read_by_name() {
        let row = rows("name,mib,ok\nT4,15360,y\n").next().expect("one row");
        assert_eq!(row.text("name"), "T4");
        assert_eq!(row.maybe_mib("mib"), Some(Bytes::mib(15360)));
        assert!(row.flag("ok"));
    }
}
