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
    /// Options of a session to look over: a session.json, a program, or `-` for pasted lines
    #[arg(long = "session", value_name = "FILE")]
    session_file: Option<std::path::PathBuf>,
    /// The answer as JSON (`onnxfit.check/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let mut view = onnxfit::check(&model, &request)?;
    if let Some(path) = &arguments.session_file {
        let findings = onnxfit::lint_options(&super::read_text(path)?);
        view.diagnostics.extend(findings.iter().map(Into::into));
    }
    super::answer(arguments.json, &view, |mut out| onnxfit::report::check::write_text(&mut out, &view))?;
    Ok(view.verdict.exit_code())
}
