//! `onnxfit recommend`: the cheapest AWS instances it fits on.

use anyhow::Result;
use clap::Args;
use onnxfit::Model;

use crate::arguments::{ModelArguments, SessionArguments, request};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Region of the prices
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The answer as JSON (`onnxfit.recommend/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let view = onnxfit::recommend(&model, &request, &arguments.region)?;
    super::answer(arguments.json, &view, |mut out| onnxfit::report::recommend::write_text(&mut out, &view))?;
    Ok(if view.instances.is_empty() { 1 } else { 0 })
}
