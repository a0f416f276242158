//! `onnxfit recommend`: every AWS instance type it fits on, cheapest first.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use onnxfit::{Model, RecommendOptions};

use crate::arguments::{ModelArguments, SessionArguments, request};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    session: SessionArguments,
    /// Region of the prices
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Fresher prices: an offer file of EC2, or what `aws pricing get-products` or `aws ec2
    /// describe-spot-price-history` print; may be given again
    #[arg(long, value_name = "FILE")]
    prices: Vec<PathBuf>,
    /// Cheapest at the spot market first
    #[arg(long)]
    spot: bool,
    /// Only types on which it fits without a change
    #[arg(long)]
    as_it_is: bool,
    /// Say why this instance type is in the list, or is not; may be given again
    #[arg(long, value_name = "TYPE")]
    why: Vec<String>,
    /// Show every type, not only the cheapest
    #[arg(long)]
    all: bool,
    /// The answer as JSON (`onnxfit.recommend/1`)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let request = request(&arguments.model, &arguments.session)?;
    let mut options = RecommendOptions {
        region: arguments.region.clone(),
        with_fix: !arguments.as_it_is,
        by_spot: arguments.spot,
        why: arguments.why.clone(),
        ..RecommendOptions::default()
    };
    for path in &arguments.prices {
        options.read_prices(path)?;
    }
    let model = Model::open(&arguments.model.model)?;
    let view = onnxfit::recommend(&model, &request, &options)?;
    super::answer(arguments.json, &view, |mut out| {
        onnxfit::report::recommend::write_text(&mut out, &view, arguments.all)
    })?;
    Ok(if view.instances.is_empty() { 1 } else { 0 })
}
