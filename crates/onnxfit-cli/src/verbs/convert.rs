//! `onnxfit convert`: the same model in half precision, measured and verified.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};
use onnxfit::{ConvertOptions, HalfFloat, MaxDrop, Model, Provider, Request};

use crate::arguments::ModelArguments;
use crate::progress::Bar;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["fp16", "bf16"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The file to write
    output: PathBuf,
    /// To IEEE half precision
    #[arg(long)]
    fp16: bool,
    /// To bfloat16
    #[arg(long)]
    bf16: bool,
    /// Inputs to measure ranges and compare answers on: an `.npz` file or a folder of them
    #[arg(long, value_name = "PATH")]
    calib: Option<PathBuf>,
    /// Inputs and outputs change too
    #[arg(long)]
    half_io: bool,
    /// Inputs and outputs stay 32-bit floats (as they do unless `--half-io` is given)
    #[arg(long, conflicts_with = "half_io")]
    keep_io: bool,
    /// Seed of made-up inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Fill absent weights with random numbers, so that the model can run
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// How far answers may move: `cosine=0.001`, `top1=0.01` or `relative-l2=0.02`
    #[arg(long, value_name = "METRIC=VALUE")]
    max_drop: Option<MaxDrop>,
    /// Run nothing: convert by cautious rules, unmeasured and uncompared
    #[arg(long, conflicts_with_all = ["calib", "max_drop"])]
    no_run: bool,
    /// Rewrite the model even if fields that onnxfit does not know are lost
    #[arg(long)]
    force: bool,
    /// Install nothing
    #[arg(long)]
    offline: bool,
    /// The answer as JSON (`onnxfit.convert/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let mut request = Request::new(Provider::Cpu);
    arguments.model.bind(&mut request);
    let model = Model::open(&arguments.model.model)?;
    let options = ConvertOptions {
        target: if arguments.bf16 { HalfFloat::Bfloat16 } else { HalfFloat::Float16 },
        output: arguments.output.clone(),
        keep_io: !arguments.half_io,
        calibration: arguments.calib.clone(),
        seed: arguments.seed,
        random_weights: arguments.random_weights,
        max_drop: arguments.max_drop,
        no_run: arguments.no_run,
        force: arguments.force,
        offline: arguments.offline,
        worker: std::env::current_exe()?,
    };
    let bar = Bar::new();
    let view = onnxfit::convert(&model, &request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::convert::write_text(&mut out, &view))?;
    Ok(if view.converted { 0 } else { 1 })
}
