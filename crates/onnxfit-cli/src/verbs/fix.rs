//! `onnxfit fix`: make it fit, prove it, write the result.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use onnxfit::report::html::ReportView;
use onnxfit::{FixOptions, Model, Prefer};

use crate::arguments::{ModelArguments, ProofArguments, SessionArguments, request};
use crate::output::OutputArguments;
use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Folder for the fitted model; it must not exist, or be empty
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Plan only: write nothing, run nothing
    #[arg(long)]
    dry_run: bool,
    /// What to keep when not everything can be kept
    #[arg(long, value_enum, default_value_t = PreferArgument::Exact)]
    prefer: PreferArgument,
    /// Dimension that the batch is, if its name does not tell
    #[arg(long, value_name = "NAME")]
    batch_dim: Option<String>,
    #[command(flatten)]
    proof: ProofArguments,
    /// Rewrite the model even if fields that onnxfit does not know are lost
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    files: OutputArguments,
    /// The answer as JSON (`onnxfit.plan/1`)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PreferArgument {
    /// Every answer as it was, as long as that is possible
    Exact,
    /// Fewer runs, even with half precision
    Speed,
    /// The cheapest machine
    Cost,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let options = FixOptions {
        output: arguments.output.clone().filter(|_| !arguments.dry_run),
        prefer: match arguments.prefer {
            PreferArgument::Exact => Prefer::Exact,
            PreferArgument::Speed => Prefer::Speed,
            PreferArgument::Cost => Prefer::Cost,
        },
        batch_dim: arguments.batch_dim.clone(),
        verify: arguments.proof.verify().filter(|_| !arguments.dry_run),
        random_weights: arguments.proof.random_weights,
        force: arguments.force,
        offline: arguments.proof.offline,
        worker: super::program()?,
    };
    let bar = Bar::new();
    let view = onnxfit::fix(&model, &request, &options, &bar)?;
    drop(bar);
    let timeline = view.timeline.as_ref().unwrap_or(&view.before.timeline);
    arguments.files.write(&ReportView::of_fix(&view, &[]), timeline)?;
    super::answer(arguments.json, &view, |mut out| onnxfit::report::fix::write_text(&mut out, &view))?;
    let proved = view.verify.as_ref().is_none_or(|verify| verify.agrees);
    Ok(if view.fitted && proved { 0 } else { 1 })
}
