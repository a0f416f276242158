//! `onnxfit run`: a model over a file of inputs of any size, never out of memory.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use onnxfit::{Bytes, GuardSetup, Model, Provider, RunOptions};

use crate::arguments::{ModelArguments, SessionArguments, request};
use crate::progress::Bar;

/// The share of free host memory that a run is planned on when nothing else is said.
const SHARE_OF_FREE: (u64, u64) = (3, 4);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Inputs: an `.npz` by input name, or any file or folder of arrays with a row for each sample
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// The `.npz` of outputs to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Dimension that the batch is, if its name does not tell
    #[arg(long, value_name = "NAME")]
    batch_dim: Option<String>,
    /// Keep what is learned about this machine's memory in a file
    #[arg(long, value_name = "FILE")]
    learned: Option<PathBuf>,
    /// Begin anew even if an interrupted run has left answers
    #[arg(long)]
    restart: bool,
    /// Fill absent weights with random numbers, so that the model can run
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// Install nothing
    #[arg(long)]
    offline: bool,
    /// The answer as JSON (`onnxfit.run/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let limit = match request.provider {
        // The kernel would end the process rather than refuse.
        Provider::Cpu if request.limit().is_none() => free_host_memory(),
        _ => None,
    };
    let options = RunOptions {
        inputs: arguments.inputs.clone(),
        output: arguments.output.clone(),
        guard: GuardSetup {
            batch_dim: arguments.batch_dim.clone(),
            learned: arguments.learned.clone(),
            limit,
            offline: arguments.offline,
        },
        random_weights: arguments.random_weights,
        restart: arguments.restart,
    };
    let bar = Bar::new();
    let view = onnxfit::run(&model, &request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::run::write_text(&mut out, &view))?;
    Ok(0)
}

/// A share of what the system says is free; `None` where it does not say.
fn free_host_memory() -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(Bytes(kib / SHARE_OF_FREE.1 * SHARE_OF_FREE.0 * 1024))
}
