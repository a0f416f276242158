//! `results/unseen.md`: rates by batch, then every row that is not exact.

use std::fmt::Write as _;

use anyhow::Result;

use super::{BATCHES, LEVELS, Row, Rows, Verdict};
use crate::runner::root;

pub(super) fn write(rows: &Rows) -> Result<()> {
    let text = table(rows);
    std::fs::write(root().join("results/unseen.md"), &text)?;
    println!(
        "{}",
        text.lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(())
}

fn rate(rows: &[&Row], pick: fn(&Row) -> &Verdict) -> String {
    let ran: Vec<&Verdict> = rows.iter().map(|row| pick(row)).filter(|verdict| verdict.kind != "not run").collect();
    let exact = ran.iter().filter(|verdict| verdict.kind == "exact").count();
    format!("{exact}/{} ({:.1} %)", ran.len(), 100.0 * exact as f64 / ran.len().max(1) as f64)
}

fn table(rows: &Rows) -> String {
    let mut text = String::from(
        "# Architectures that the twin was not tuned for\n\n\
         Made by `cargo xtask unseen`: models written by the scripts of `xtask/unseen/` with random weights, run by\n\
         `onnxfit measure` (ONNX Runtime 1.31.1, CPU provider, two threads, three runs). A row is exact when the arena's\n\
         bytes in use and held after load, and the peak, the bytes held and the bytes left of each run, are equal to the\n\
         byte. *First try* is what the row said when it was measured for the first time ever, before any rule was written\n\
         for it; *now* is after. Rows that ONNX Runtime itself cannot run are left out of the shares.\n\n\
         | batch | what | level | rows | first try | now | median peak error now | not run |\n\
         |---|---|---|---:|---:|---:|---:|---:|\n",
    );
    for (batch, what) in BATCHES {
        for level in LEVELS {
            let picked: Vec<&Row> = rows.values().filter(|row| row.batch == *batch && row.level == level).collect();
            if picked.is_empty() {
                continue;
            }
            let ran: Vec<&&Row> = picked.iter().filter(|row| row.now.kind != "not run").collect();
            let mut errors: Vec<f64> = ran.iter().map(|row| row.now.peak_error.abs()).collect();
            errors.sort_by(f64::total_cmp);
            let median = errors.get(errors.len() / 2).copied().unwrap_or(0.0);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {batch} | {what} | {level} | {} | {} | {} | {:.3} % | {} |",
                picked.len(),
                rate(&picked, |row| &row.first),
                rate(&picked, |row| &row.now),
                100.0 * median,
                picked.len() - ran.len()
            );
        }
    }
    for level in LEVELS {
        let _ = write!(
            text,
            "\n## Not exact at `{level}`\n\n| batch | model | sizes | peak error | first figure that differs |\n|---|---|---|---:|---|\n"
        );
        for row in rows.values().filter(|row| row.level == level && row.now.kind == "differs") {
            let sizes: Vec<String> = row.sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:+.2} % | {} |",
                row.batch,
                row.model,
                sizes.join(" "),
                100.0 * row.now.peak_error,
                row.now.text.replace('|', "\\|")
            );
        }
    }
    let _ = write!(text, "\n## Not run\n\n| batch | model | level | why |\n|---|---|---|---|\n");
    for row in rows.values().filter(|row| row.now.kind == "not run") {
        let _ =
            writeln!(text, "| {} | {} | {} | {} |", row.batch, row.model, row.level, row.now.text.replace('|', "\\|"));
    }
    text
}
