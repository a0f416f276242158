//! `onnxfit watch`: who holds the memory of the GPUs, now.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use onnxfit::Watch;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this GPU, counted from 0
    #[arg(long, value_name = "INDEX")]
    gpu: Option<u32>,
    /// Seconds between two readings
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// One reading
    #[arg(long)]
    once: bool,
    /// Each reading as one line of JSON (`onnxfit.watch/1`)
    #[arg(long)]
    json: bool,
}

/// Less than this keeps the driver busy with answering.
const INTERVAL_MIN_SECONDS: f64 = 0.05;
const INTERVAL_MAX_SECONDS: f64 = 86_400.0;
/// To the top left, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    if !(INTERVAL_MIN_SECONDS..=INTERVAL_MAX_SECONDS).contains(&arguments.interval) {
        bail!("`--interval {}` is not between {INTERVAL_MIN_SECONDS} seconds and a day", arguments.interval);
    }
    let mut watch = Watch::open(arguments.gpu)?;
    let redraws = !arguments.json && !arguments.once && io::stdout().is_terminal();
    loop {
        let view = watch.read()?;
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        if arguments.json {
            serde_json::to_writer(&mut stdout, &view)?;
            writeln!(stdout)?;
        } else {
            if redraws {
                stdout.write_all(CLEAR.as_bytes())?;
            }
            onnxfit::report::watch::write_text(&mut stdout, &view)?;
            writeln!(stdout)?;
        }
        stdout.flush()?;
        if arguments.once {
            return Ok(0);
        }
        drop(stdout);
        std::thread::sleep(Duration::from_secs_f64(arguments.interval));
    }
}
