//! `onnxfit convert`: the same model in half precision, measured and verified.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use onnxfit::{
    ByteLayout, ByteResize, BytesIn, BytesInOptions, ConvertOptions, HalfFloat, MaxDrop, Model, Provider, Request,
};

use crate::arguments::{CalibArguments, MakingArguments, ModelArguments};
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
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..=6, value_parser = parse_pair,
          long_help = "Bytes in: (byte / scale - mean) / std moves into the model. Keys: mean=0.485,0.456,0.406 \
          std=0.229,0.224,0.225 layout=nhwc scale=255 resize=224x224 input=NAME; with resize pictures of any size come in")]
    uint8_input: Option<Vec<(String, String)>>,
    #[command(flatten)]
    data: CalibArguments,
    /// Inputs and outputs change too
    #[arg(long)]
    half_io: bool,
    /// Inputs and outputs stay 32-bit floats (as they do unless `--half-io` is given)
    #[arg(long, conflicts_with = "half_io")]
    keep_io: bool,
    /// How far answers may move: `cosine=0.001`, `top1=0.01` or `relative-l2=0.02`
    #[arg(long, value_name = "METRIC=VALUE")]
    max_drop: Option<MaxDrop>,
    /// Run nothing: convert by cautious rules, unmeasured and uncompared
    #[arg(long, conflicts_with_all = ["calib", "max_drop"])]
    no_run: bool,
    #[command(flatten)]
    making: MakingArguments,
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
        calibration: arguments.data.calib.clone(),
        pixels: arguments.data.pixels(),
        seed: arguments.making.seed,
        random_weights: arguments.making.random_weights,
        max_drop: arguments.max_drop,
        no_run: arguments.no_run,
        force: arguments.making.force,
        offline: arguments.making.offline,
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
            ("resize", size) => bytes.resize = Some(parse_resize(size)?),
            ("input", name) => bytes.input = Some(name.to_owned()),
            _ => bail!(
                "`{key}={value}` is none of mean=…, std=…, scale=…, layout=nhwc, layout=nchw, resize=HxW, input=NAME"
            ),
        }
    }
    let options = BytesInOptions {
        bytes,
        output: arguments.output.clone(),
        seed: arguments.making.seed,
        random_weights: arguments.making.random_weights,
        force: arguments.making.force,
        offline: arguments.making.offline,
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

fn parse_resize(text: &str) -> Result<ByteResize> {
    let sizes = text.split_once('x').and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    let (height, width) = sizes.with_context(|| format!("`resize={text}`: write it as `resize=224x224`"))?;
    Ok(ByteResize { height, width })
}

fn parse_numbers(text: &str) -> Result<Vec<f32>> {
    let numbers = text.split(',').map(|number| number.trim().parse::<f32>());
    numbers.collect::<Result<_, _>>().with_context(|| format!("`{text}` is no list of numbers"))
}
