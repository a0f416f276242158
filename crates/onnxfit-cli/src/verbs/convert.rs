//! `onnxfit convert`: the same model in half precision, measured and verified.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use onnxfit::{ByteLayout, BytesIn, BytesInOptions, ConvertOptions, HalfFloat, MaxDrop, Model, Provider, Request};

use crate::arguments::ModelArguments;
use crate::progress::Bar;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["fp16", "bf16", "uint8_input"]))]
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
    /// Bytes in: the model divides by `scale`, subtracts `mean`, divides by `std`
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..=5, value_parser = parse_pair,
          long_help = "Bytes in: (byte / scale - mean) / std moves into the model. Keys: mean=0.485,0.456,0.406 \
          std=0.229,0.224,0.225 layout=nhwc scale=255 input=NAME")]
    uint8_input: Option<Vec<(String, String)>>,
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
    if let Some(pairs) = &arguments.uint8_input {
        return bytes_in(arguments, pairs, &model, &request);
    }
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
        worker: super::program()?,
    };
    let bar = Bar::new();
    let view = onnxfit::convert(&model, &request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::convert::write_text(&mut out, &view))?;
    Ok(if view.converted { 0 } else { 1 })
}

fn bytes_in(arguments: &Arguments, pairs: &[(String, String)], model: &Model, request: &Request) -> Result<u8> {
    let mut bytes = BytesIn::default();
    for (key, value) in pairs {
        match (key.as_str(), value.as_str()) {
            ("mean", numbers) => bytes.mean = parse_numbers(numbers)?,
            ("std", numbers) => bytes.deviation = parse_numbers(numbers)?,
            ("scale", number) => bytes.scale = number.parse().with_context(|| format!("scale={number}"))?,
            ("layout", "nhwc") => bytes.layout = ByteLayout::Nhwc,
            ("layout", "nchw") => bytes.layout = ByteLayout::Nchw,
            ("input", name) => bytes.input = Some(name.to_owned()),
            _ => bail!("`{key}={value}` is none of mean=…, std=…, scale=…, layout=nhwc, layout=nchw, input=NAME"),
        }
    }
    let options = BytesInOptions {
        bytes,
        output: arguments.output.clone(),
        seed: arguments.seed,
        random_weights: arguments.random_weights,
        force: arguments.force,
        offline: arguments.offline,
        worker: super::program()?,
    };
    let bar = Bar::new();
    let view = onnxfit::bytes_in(model, request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::bytes_in::write_text(&mut out, &view))?;
    Ok(if view.converted { 0 } else { 1 })
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as `mean=0.5`")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn parse_numbers(text: &str) -> Result<Vec<f32>> {
    let numbers = text.split(',').map(|number| number.trim().parse::<f32>());
    numbers.collect::<Result<_, _>>().with_context(|| format!("`{text}` is no list of numbers"))
}
