//! `onnxfit quantize`: fewer bits a number, as few as the answers allow.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args, ValueEnum};
use onnxfit::{IntType, Level, MaxDrop, Model, Provider, QuantizeOptions, RangeMethod, Request, Scheme, Symmetry};

use crate::arguments::{CalibArguments, MakingArguments, ModelArguments};
use crate::output::write_whole;
use crate::progress::Bar;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scheme").required(true).args(["static_", "dynamic", "weights"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The file to write
    output: PathBuf,
    /// Weights and values, by ranges measured on calibration data
    #[arg(long = "static", requires = "calib")]
    static_: bool,
    /// Weights beforehand, values when they are there; CPU kernels only
    #[arg(long)]
    dynamic: bool,
    /// Weights alone: they are integers at rest, computation stays in float
    #[arg(long, value_enum, value_name = "BITS")]
    weights: Option<WeightsArgument>,
    /// Round weights to the nearest, whatever calibration data say
    #[arg(long, requires = "weights")]
    nearest: bool,
    /// Run nothing: every weight as small as it may be, uncompared, one in memory at a time
    #[arg(long, requires = "weights", conflicts_with_all = ["calib", "max_drop"])]
    no_run: bool,
    #[command(flatten)]
    data: CalibArguments,
    /// How ranges are found
    #[arg(long, value_enum, default_value_t = RangesArgument::MinMax, requires = "static_")]
    ranges: RangesArgument,
    /// The percentage of numbers that `--ranges percentile` keeps
    #[arg(long, value_name = "PERCENT", default_value_t = 99.999)]
    percentile: f64,
    /// The integers of values
    #[arg(long, value_enum, default_value_t = TypeArgument::Uint8, requires = "static_")]
    activations: TypeArgument,
    /// Ranges of values reach as far below zero as above
    #[arg(long, requires = "static_")]
    symmetric: bool,
    /// One scale for a whole weight instead of one for each channel
    #[arg(long)]
    per_tensor: bool,
    /// One bit less for weights: for processors without VNNI, whose sums would overflow
    #[arg(long)]
    reduce_range: bool,
    /// Even out the weights of convolutions that follow each other first
    #[arg(long, requires = "static_")]
    equalize: bool,
    /// Keep ranges here while they are measured, and go on from there
    #[arg(long, value_name = "FILE", requires = "static_")]
    keep_ranges: Option<PathBuf>,
    /// A node that stays as it is; may be given more than once
    #[arg(long, value_name = "NODE")]
    exclude: Vec<String>,
    /// How far answers may move: `cosine=0.001`, `top1=0.01`, `relative-l2=0.02` or `command=0.01`
    #[arg(long, value_name = "METRIC=VALUE")]
    max_drop: Option<MaxDrop>,
    /// A command that prints a number for the model whose path follows it, higher for better
    #[arg(long, value_name = "COMMAND")]
    metric_command: Option<String>,
    /// Where it is to run: an AWS instance type, a GPU or an amount
    #[arg(long, value_name = "TARGET")]
    on: Option<String>,
    #[command(flatten)]
    making: MakingArguments,
    /// The answer as JSON (`onnxfit.quantize/1`)
    #[arg(long)]
    json: bool,
    /// Write a report as one HTML file that needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RangesArgument {
    /// Least and greatest
    #[value(name = "minmax")]
    MinMax,
    /// Means over samples of least and greatest
    MeanMinmax,
    /// Least Kullback-Leibler divergence
    Entropy,
    /// All but the rarest
    Percentile,
    /// Least mean squared error
    Mse,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightsArgument {
    /// Eight bits
    Int8,
    /// Four bits where there is a kernel, eight elsewhere
    Int4,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TypeArgument {
    Uint8,
    Int8,
    Uint16,
    Int16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let mut request = Request::new(Provider::Cpu);
    if let Some(target) = &arguments.on {
        request = request.on(target)?;
    }
    arguments.model.bind(&mut request);
    let model = Model::open(&arguments.model.model)?;
    let options = QuantizeOptions {
        scheme: scheme(arguments),
        output: arguments.output.clone(),
        calibration: arguments.data.calib.clone(),
        pixels: arguments.data.pixels(),
        per_channel: !arguments.per_tensor,
        reduce_range: arguments.reduce_range,
        exclude: arguments.exclude.iter().cloned().collect(),
        seed: arguments.making.seed,
        random_weights: arguments.making.random_weights,
        max_drop: arguments.max_drop,
        metric_command: arguments.metric_command.clone(),
        force: arguments.making.force,
        offline: arguments.making.offline,
        worker: super::program()?,
    };
    let bar = Bar::new();
    let view = onnxfit::quantize(&model, &request, &options, &bar)?;
    drop(bar);
    if let Some(path) = &arguments.html {
        write_whole(path, |out| onnxfit::report::quantize::write_html(&mut { out }, &view))?;
    }
    super::answer(arguments.json, &view, |mut out| onnxfit::report::quantize::write_text(&mut out, &view))?;
    Ok(if view.quantized { 0 } else { 1 })
}

fn scheme(arguments: &Arguments) -> Scheme {
    if arguments.dynamic {
        return Scheme::Dynamic;
    }
    if let Some(weights) = arguments.weights {
        let smallest = match weights {
            WeightsArgument::Int8 => Level::Int8,
            WeightsArgument::Int4 => Level::Int4,
        };
        // Eight bits have hardly an error to make up for, and made-up inputs say nothing of real ones.
        let compensate = !arguments.nearest && smallest == Level::Int4 && arguments.data.calib.is_some();
        return Scheme::Weights { smallest, compensate, unseen: arguments.no_run };
    }
    let ranges = match arguments.ranges {
        RangesArgument::MinMax => RangeMethod::MinMax,
        RangesArgument::MeanMinmax => RangeMethod::MeanMinMax,
        RangesArgument::Entropy => RangeMethod::Entropy,
        RangesArgument::Percentile => RangeMethod::Percentile(arguments.percentile),
        RangesArgument::Mse => RangeMethod::MeanSquare,
    };
    let activation = match arguments.activations {
        TypeArgument::Uint8 => IntType::Uint8,
        TypeArgument::Int8 => IntType::Int8,
        TypeArgument::Uint16 => IntType::Uint16,
        TypeArgument::Int16 => IntType::Int16,
    };
    Scheme::Static {
        ranges,
        activation,
        weight: IntType::Int8,
        symmetry: if arguments.symmetric { Symmetry::Symmetric } else { Symmetry::Asymmetric },
        equalize: arguments.equalize,
        keep_ranges: arguments.keep_ranges.clone(),
    }
}
