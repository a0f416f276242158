//! `onnxfit check`: does it fit, what holds the bytes, which node fails.

use anyhow::Result;
use clap::Args;
use onnxfit::Model;
use onnxfit::report::html::ReportView;

use crate::arguments::{ModelArguments, SessionArguments, request};
use crate::output::OutputArguments;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Options of a session to look over: a session.json, a program, or `-` for pasted lines
    #[arg(long = "session", value_name = "FILE")]
    session_file: Option<std::path::PathBuf>,
    /// In JSON too, say what each dimension does to the memory; text and report always do
    #[arg(long)]
    growth: bool,
    #[command(flatten)]
    output: OutputArguments,
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
    // Some twenty replays for each dimension: programs that read JSON ask for them.
    if arguments.growth || !arguments.json || arguments.output.html.is_some() {
        view.growth = onnxfit::growth(&model, &request)?;
    }
    arguments.output.write(&ReportView::of_check(&view, &[]), &view.timeline)?;
    super::answer(arguments.json, &view, |mut out| onnxfit::report::check::write_text(&mut out, &view))?;
    let code = view.verdict.exit_code();
    if !super::is_captured() {
        // The process ends with its answer: to take a graph apart first costs a tenth of the time.
        std::mem::forget((model, view));
    }
    Ok(code)
}
