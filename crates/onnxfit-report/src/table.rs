//! A plain text table: columns as wide as they need, no lines, readable without colour.

use std::io::{self, Write};

/// Which side a column's cells keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Writes rows under a header; every row has as many cells as the header.
pub fn write_table(
    out: &mut impl Write,
    indent: usize,
    header: &[(&str, Align)],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let mut widths: Vec<usize> = header.iter().map(|(title, _)| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles: Vec<String> = header.iter().map(|(title, _)| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = " ".repeat(indent);
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            match header[column].1 {
                Align::Left => line.extend([cell.as_str(), gap.as_str()]),
                Align::Right => line.extend([gap.as_str(), cell.as_str()]),
            }
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Cuts a long name in the middle, where exporters' names differ least.
pub fn shorten(name: &str, width_max: usize) -> String {
    let n_chars = name.chars().count();
    if n_chars <= width_max {
        return name.to_owned();
    }
    let (head, tail) = (width_max / 3, width_max - width_max / 3 - 1);
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(n_chars - tail).collect();
    format!("{start}…{end}")
}
