//! One file a verb.

pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod distill;
pub(crate) mod explain;
pub(crate) mod fix;
pub(crate) mod measure;
pub(crate) mod quantize;
pub(crate) mod recommend;
pub(crate) mod runtime;
pub(crate) mod train;
pub(crate) mod watch;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Serves runs to the process that started this one.
pub(crate) fn worker() -> Result<u8> {
    onnxfit::runtime::worker::serve(io::stdin().lock(), io::stdout().lock())?;
    Ok(0)
}

/// Writes an answer as JSON, or as text.
fn answer<T: onnxfit::Serialize>(
    json: bool,
    view: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut stdout, view)?;
        writeln!(stdout)?;
    } else {
        text(&mut stdout)?;
    }
    stdout.flush()?;
    Ok(())
}

/// Reads a text file, or standard input for `-`.
fn read_text(path: &PathBuf) -> Result<String> {
    let shown = path.display();
    if path.as_os_str() == "-" {
        return io::read_to_string(io::stdin().lock()).context("cannot read standard input as text");
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{shown}` as text"))
}
