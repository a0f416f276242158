//! `onnxfit explain`: what this error message means, what caused it, what to do.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use onnxfit::{ExplainContext, Model, Request};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The log, or `-` for standard input
    log: PathBuf,
    /// The model that was running
    model: Option<PathBuf>,
    /// Where it ran: an AWS instance type, a GPU or an amount of memory
    #[arg(long, value_name = "TARGET")]
    on: Option<String>,
    /// The session's options: a session.json, or the lines of the program that set them
    #[arg(long, value_name = "FILE")]
    options: Option<PathBuf>,
    /// The answer as JSON (`onnxfit.explain/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let model = arguments.model.as_ref().map(Model::open).transpose()?;
    let request = match &arguments.on {
        Some(target) => Request::default().on(target)?,
        None => Request::default(),
    };
    let options = arguments.options.as_ref().map(super::read_text).transpose()?;
    let context =
        ExplainContext { model: model.as_ref(), target: request.target.as_ref(), options: options.as_deref() };
    let explanation = if arguments.log.as_os_str() == "-" {
        onnxfit::explain(io::stdin().lock(), context)?
    } else {
        let path = arguments.log.display();
        let file = File::open(&arguments.log).with_context(|| format!("cannot open `{path}`"))?;
        onnxfit::explain(file, context).with_context(|| format!("cannot read `{path}`"))?
    };
    super::answer(arguments.json, &explanation, |out| {
        write!(out, "{explanation}")?;
        if let (Some(true), Some(model)) = (explanation.is_oom, &arguments.model) {
            let on = arguments.on.as_deref().unwrap_or("g4dn.xlarge");
            writeln!(out, "\nto make it fit: onnxfit fix {} --on {on} --dim … -o fitted", model.display())?;
        }
        Ok(())
    })?;
    Ok(match explanation.is_oom {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    })
}
