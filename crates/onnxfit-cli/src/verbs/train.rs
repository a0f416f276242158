//! `onnxfit train`: a model learns from samples.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use onnxfit::data::{BadSamples, ImageLayout, OpenOptions};
use onnxfit::report::train::{TrainView, write_html, write_text};
use onnxfit::training::{BatchNorm, Moments, Rule};
use onnxfit::{BytesIn, DecayChoice, LossChoice, Model, Recomputing, TrainOptions};

use crate::arguments::{ModelArguments, SessionArguments, request};
use crate::output::write_whole;
use crate::progress::Bar;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    learning: Learning,
}

/// How a model learns; `distill` has the same.
#[derive(Debug, Args)]
pub(crate) struct Learning {
    /// The model to write
    #[arg(short, long, value_name = "FILE", default_value = "trained.onnx")]
    output: PathBuf,
    /// Samples: a .npz, .npy, .safetensors, .parquet or .arrow file with a row for each, a folder of them, or a folder of images with a folder for each class
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Samples that it does not learn from: each epoch ends with their loss and accuracy, and the model is written as it was when their loss was least
    #[arg(long, value_name = "PATH")]
    validation: Option<PathBuf>,
    /// What is minimized
    #[arg(long, value_enum, default_value_t = LossArgument::CrossEntropy)]
    loss: LossArgument,
    /// A label that means "no label", such as -100
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    ignore_index: Option<i64>,
    /// The value of the model that the loss looks at; its first output unless given
    #[arg(long, value_name = "NAME")]
    value: Option<String>,
    /// The field of the data with the targets
    #[arg(long, value_name = "FIELD")]
    target: Option<String>,
    /// Which field feeds which input, where the names differ
    #[arg(long, value_name = "INPUT=FIELD", value_parser = parse_pair)]
    map: Vec<(String, String)>,
    /// Passes over the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    epochs: u64,
    /// End after this many steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Samples of a step; what does not fit at once is accumulated
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Samples that go through at once; as many as fit unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    micro_batch: Option<u64>,
    /// How gradients change parameters
    #[arg(long, value_enum, default_value_t = OptimizerArgument::Adamw)]
    optimizer: OptimizerArgument,
    /// The learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    lr: f64,
    /// Momentum of sgd
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    momentum: f64,
    /// How the learning rate goes after warming up
    #[arg(long, value_enum, default_value_t = ScheduleArgument::Constant)]
    schedule: ScheduleArgument,
    /// Steps over which the learning rate rises
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    warmup: u64,
    /// The largest norm of all gradients together
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// How much of each weight is taken away, in units of the learning rate
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    weight_decay: f64,
    /// Leave parameters with this text in their name as they are
    #[arg(long, value_name = "TEXT")]
    freeze: Vec<String>,
    /// Change only parameters with this text in their name
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// A learning rate of their own for parameters with this text in their name, as a factor
    #[arg(long, value_name = "TEXT=FACTOR", value_parser = parse_factor)]
    lr_factor: Vec<(String, f64)>,
    /// Train adapters of this many rows instead of the weights of MatMul and Gemm
    #[arg(long, value_name = "RANK")]
    lora: Option<u64>,
    /// What `BatchNormalization` does
    #[arg(long, value_enum, default_value_t = BatchNormArgument::Frozen)]
    batch_norm: BatchNormArgument,
    /// Compute in half precision; weights stay single, the loss is scaled
    #[arg(long)]
    mixed: bool,
    /// Compute activations again instead of keeping them
    #[arg(long, value_enum, default_value_t = RecomputeArgument::Auto)]
    recompute: RecomputeArgument,
    /// Height and width that images are scaled and cut to, as `224x224`
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    image_size: Option<(u32, u32)>,
    /// Images are gray
    #[arg(long)]
    gray: bool,
    /// Taken from each channel of an image after it was divided by 255
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    mean: Vec<f32>,
    /// What each channel is then divided by
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    std: Vec<f32>,
    /// Samples that cannot be read, have another shape, or hold no numbers
    #[arg(long, value_enum, default_value_t = BadArgument::Stop)]
    bad_samples: BadArgument,
    /// Leave out an epoch's last batch if it is smaller
    #[arg(long)]
    drop_last: bool,
    /// Keep the order of the data
    #[arg(long)]
    no_shuffle: bool,
    /// What shuffles
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The folder of checkpoints; beside the output unless given
    #[arg(long, value_name = "FOLDER")]
    checkpoints: Option<PathBuf>,
    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Go on from the newest checkpoint
    #[arg(long)]
    resume: bool,
    /// The log, a line of JSON for each step; beside the output unless given
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the curve of the loss as one HTML file that needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Fill absent weights with random numbers
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// Install nothing
    #[arg(long)]
    offline: bool,
    /// The answer as JSON (`onnxfit.train/1`)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossArgument {
    /// Class numbers
    CrossEntropy,
    /// Squared difference
    Mse,
    /// Divergence from logits
    Kl,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerArgument {
    Sgd,
    Adam,
    Adamw,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleArgument {
    Constant,
    Linear,
    Cosine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BatchNormArgument {
    /// It uses the stored statistics
    Frozen,
    /// It uses those of the batch
    Training,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecomputeArgument {
    /// If little of the batch fits otherwise
    Auto,
    Off,
    Always,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BadArgument {
    /// They end the run
    Stop,
    /// They are left out and counted
    Skip,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let model = Model::open(&arguments.model.model)?;
    let options = arguments.learning.options()?;
    let bar = Bar::new();
    let view = onnxfit::train(&model, &request, &options, &bar)?;
    drop(bar);
    arguments.learning.answer(&view)
}

impl Learning {
    pub(crate) fn options(&self) -> Result<TrainOptions> {
        if self.mean.len() > 4 || self.std.len() > 4 {
            bail!("an image has at most four channels");
        }
        let rule = match self.optimizer {
            OptimizerArgument::Sgd => Rule::Sgd { momentum: self.momentum, is_nesterov: false },
            OptimizerArgument::Adam => Rule::Adam(Moments::default()),
            OptimizerArgument::Adamw => Rule::AdamW(Moments::default()),
        };
        let pixels = BytesIn::default();
        Ok(TrainOptions {
            validation: self.validation.clone(),
            open: OpenOptions {
                image_size: self.image_size,
                image_layout: ImageLayout::ChannelsFirst,
                is_gray: self.gray,
                ..OpenOptions::default()
            },
            pixels: BytesIn {
                mean: if self.mean.is_empty() { pixels.mean } else { self.mean.clone() },
                deviation: if self.std.is_empty() { pixels.deviation } else { self.std.clone() },
                scale: 255.0,
                ..BytesIn::default()
            },
            loss: match self.loss {
                LossArgument::CrossEntropy => LossChoice::CrossEntropy { ignore_index: self.ignore_index },
                LossArgument::Mse => LossChoice::SquaredError,
                LossArgument::Kl => LossChoice::Divergence { temperature: 1.0 },
            },
            value: self.value.clone(),
            target: self.target.clone(),
            map: self.map.iter().cloned().collect(),
            n_epochs: self.epochs,
            n_steps_max: self.steps,
            batch: self.batch,
            micro_batch: self.micro_batch,
            rule,
            rate: self.lr,
            n_warmup_steps: self.warmup,
            decay: match self.schedule {
                ScheduleArgument::Constant => DecayChoice::Constant,
                ScheduleArgument::Linear => DecayChoice::Linear,
                ScheduleArgument::Cosine => DecayChoice::Cosine,
            },
            gradient_norm_max: self.clip,
            weight_decay: self.weight_decay,
            freeze: self.freeze.clone(),
            only: self.only.clone(),
            rate_factors: self.lr_factor.clone(),
            lora_rank: self.lora,
            batch_norm: match self.batch_norm {
                BatchNormArgument::Frozen => BatchNorm::Frozen,
                BatchNormArgument::Training => BatchNorm::Training,
            },
            mixed: self.mixed,
            recompute: match self.recompute {
                RecomputeArgument::Auto => Recomputing::Auto,
                RecomputeArgument::Off => Recomputing::Off,
                RecomputeArgument::Always => Recomputing::Always,
            },
            seed: self.seed,
            shuffle: !self.no_shuffle,
            bad_samples: match self.bad_samples {
                BadArgument::Stop => BadSamples::Stop,
                BadArgument::Skip => BadSamples::Skip,
            },
            drops_last: self.drop_last,
            checkpoints: self.checkpoints.clone(),
            checkpoint_every: self.checkpoint_every,
            resume: self.resume,
            log: self.log.clone(),
            random_weights: self.random_weights,
            offline: self.offline,
            ..TrainOptions::new(&self.data, &self.output)
        })
    }

    pub(crate) fn answer(&self, view: &TrainView) -> Result<u8> {
        if let Some(path) = &self.html {
            write_whole(path, |out| write_html(out, view))?;
        }
        super::answer(self.json, view, |mut out| write_text(&mut out, view))?;
        Ok(0)
    }
}

pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as `input=field`")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn parse_factor(text: &str) -> Result<(String, f64)> {
    let (key, value) = text.split_once('=').context("write it as `text=0.1`")?;
    Ok((key.trim().to_owned(), value.trim().parse().with_context(|| format!("`{value}` is no number"))?))
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parse = |text: &str| text.trim().parse().ok().filter(|size| (1..=1 << 15).contains(size));
    let sizes = text.split_once('x').and_then(|(height, width)| Some((parse(height)?, parse(width)?)));
    sizes.ok_or_else(|| "write it as `224x224`".to_owned())
}
