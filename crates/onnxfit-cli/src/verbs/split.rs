//! `onnxfit split`: a model too large for one GPU, in stages that each fit one of several.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use onnxfit::{Model, SplitOptions};

use crate::arguments::{ModelArguments, ProofArguments, SessionArguments, request};
use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Into how many stages
    #[arg(long, value_name = "N", default_value_t = 2)]
    stages: usize,
    /// Folder for the stages: a Triton repository with an ensemble, and a runner
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Plan only: write nothing, run nothing
    #[arg(long)]
    dry_run: bool,
    /// The name it is served under; that of the file, or of the folder around a `model.onnx`
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    proof: ProofArguments,
    /// The answer as JSON (`onnxfit.split/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let options = SplitOptions {
        n_stages: arguments.stages,
        output: arguments.output.clone().filter(|_| !arguments.dry_run),
        name: arguments.name.clone(),
        verify: arguments.proof.verify().filter(|_| !arguments.dry_run),
        random_weights: arguments.proof.random_weights,
        offline: arguments.proof.offline,
        worker: super::program()?,
    };
    let bar = Bar::new();
    let view = onnxfit::split(&model, &request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::split::write_text(&mut out, &view))?;
    let proved = view.verify.as_ref().is_none_or(|verify| verify.agrees);
    Ok(if view.fits && proved { 0 } else { 1 })
}
