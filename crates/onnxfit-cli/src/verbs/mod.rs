//! One file a verb.

pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod deploy;
pub(crate) mod distill;
pub(crate) mod explain;
pub(crate) mod fix;
pub(crate) mod measure;
pub(crate) mod prune;
pub(crate) mod quantize;
pub(crate) mod recommend;
pub(crate) mod run;
pub(crate) mod runtime;
pub(crate) mod serve;
pub(crate) mod split;
pub(crate) mod train;
pub(crate) mod watch;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// What starts this command again, where that is not the running program.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says what starts this command again.
pub(crate) fn set_program(program: Option<PathBuf>) {
    if let Some(program) = program {
        // The first caller of a process is the one that started it.
        let _ = PROGRAM.set(program);
    }
}

/// The program that serves runs when started with `__worker`.
pub(crate) fn program() -> Result<PathBuf> {
    match PROGRAM.get() {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe().context("cannot tell which program this is"),
    }
}

/// Serves runs to the process that started this one.
pub(crate) fn worker() -> Result<u8> {
    let (input, output) = onnxfit::runtime::worker::stdio()?;
    onnxfit::runtime::worker::serve(input, output)?;
    Ok(0)
}

thread_local! {
    /// Where an answer goes that a program asked for: JSON and text.
    static CAPTURED: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Whether a program asked, which goes on after the answer.
pub(crate) fn is_captured() -> bool {
    CAPTURED.with_borrow(Option::is_some)
}

/// Does something, and keeps the answer that it gives on this thread from stdout.
pub(crate) fn captured<T>(doing: impl FnOnce() -> T) -> (T, (String, String)) {
    CAPTURED.set(Some(Default::default()));
    let done = doing();
    (done, CAPTURED.take().unwrap_or_default())
}

/// Writes an answer as JSON, or as text.
fn answer<T: onnxfit::Serialize>(
    json: bool,
    view: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    if CAPTURED.with_borrow(Option::is_some) {
        let mut shown = Vec::new();
        text(&mut shown)?;
        let answer = (serde_json::to_string(view)?, String::from_utf8_lossy(&shown).into_owned());
        CAPTURED.set(Some(answer));
        return Ok(());
    }
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
