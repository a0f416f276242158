//! `onnxfit measure`: a real run beside the prediction.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use onnxfit::report::html::{MeasuredView, ReportView};
use onnxfit::{MeasureOptions, Model, SweepOptions, VerifyInputs};

use crate::arguments::{ModelArguments, SessionArguments, request};
use crate::output::write_report;
use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Equal runs of one session
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Inputs, as an `.npz` file
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Seed of made-up inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Fill absent weights with random numbers, so that the model can run
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// Walk over sizes of a dimension: doubling, then the largest that runs
    #[arg(long, value_name = "NAME=FIRST..LAST", value_parser = parse_sweep, conflicts_with = "inputs")]
    sweep: Option<(String, RangeInclusive<i64>)>,
    /// With --sweep: try sizes that are predicted not to fit, too
    #[arg(long, requires = "sweep")]
    prove: bool,
    /// Write every allocation of load and runs, without an arena (`a ID BYTES`, `r …`, `f ID`)
    #[arg(long, value_name = "FILE", conflicts_with = "sweep")]
    trace: Option<PathBuf>,
    /// Write a report as one HTML file that needs no network, with the run beside the prediction
    #[arg(long, value_name = "FILE", conflicts_with = "sweep")]
    html: Option<PathBuf>,
    /// Show all nodes, not only those around the first difference
    #[arg(long)]
    nodes: bool,
    /// Measure what the card itself takes (context, library code), with this model for its products, and
    /// write a file for `--calibration`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sweep", "trace", "nodes"])]
    calibrate: Option<PathBuf>,
    /// Install nothing
    #[arg(long)]
    offline: bool,
    /// The answer as JSON (`onnxfit.measure/1`, `onnxfit.sweep/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let options = MeasureOptions {
        runs: arguments.runs.into(),
        inputs: match &arguments.inputs {
            Some(path) => VerifyInputs::File(path.clone()),
            None => VerifyInputs::Seeded(arguments.seed),
        },
        random_weights: arguments.random_weights,
        trace: arguments.trace.is_some(),
        offline: arguments.offline,
        worker: super::program()?,
    };
    let bar = Bar::new();
    if let Some(path) = &arguments.calibrate {
        let command: Vec<String> = std::env::args().skip(1).collect();
        let calibrate = onnxfit::CalibrateOptions { file: path.clone(), command: command.join(" ") };
        let line = onnxfit::calibrate(&model, &request, &options, &calibrate, &bar)?;
        drop(bar);
        writeln!(std::io::stdout(), "{line}\nwritten: {}", path.display())?;
        return Ok(0);
    }
    if let Some((dim, sizes)) = &arguments.sweep {
        let over = SweepOptions { dim: dim.clone(), sizes: sizes.clone(), prove: arguments.prove };
        let view = onnxfit::sweep(&model, &request, &options, &over, &bar)?;
        drop(bar);
        super::answer(arguments.json, &view, |mut out| onnxfit::report::measure::write_sweep(&mut out, &view))?;
        return Ok(if view.largest.is_some() { 0 } else { 1 });
    }
    let view = onnxfit::measure(&model, &request, &options, &bar)?;
    drop(bar);
    if let Some(path) = &arguments.trace {
        let text: String = view.trace.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if let Some(path) = &arguments.html {
        let mut check = onnxfit::check(&model, &request)?;
        check.growth = onnxfit::growth(&model, &request)?;
        let measured = MeasuredView::of_measure(&view);
        write_report(path, &ReportView::of_measure(&check, &measured, &[]))?;
    }
    super::answer(arguments.json, &view, |mut out| {
        onnxfit::report::measure::write_text(&mut out, &view, arguments.nodes)
    })?;
    Ok(if view.accuracy.is_equal() { 0 } else { 1 })
}

fn parse_sweep(text: &str) -> Result<(String, RangeInclusive<i64>), String> {
    let usage = "write it as `batch=1..256`";
    let (name, range) = text.rsplit_once('=').ok_or(usage)?;
    let (first, last) = range.split_once("..").ok_or(usage)?;
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("`{text}` is no whole number"));
    Ok((name.trim().to_owned(), number(first)?..=number(last.trim_start_matches('='))?))
}
