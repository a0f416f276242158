//! `onnxfit check`: does it fit, what holds the bytes, which node fails.

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
    /// The answer as JSON (`onnxfit.check/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let view = onnxfit::check(&model, &request)?;
    super::answer(arguments.json, &view, |mut out| onnxfit::report::check::write_text(&mut out, &view))?;
    Ok(view.verdict.exit_code())
}
