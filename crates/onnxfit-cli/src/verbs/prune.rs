//! `onnxfit prune`: whole channels and heads go, the cut is proved, the price told.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args, ValueEnum};
use onnxfit::{
    Model, Provider, PruneImportance, PruneMeasure, PruneOptions, PruneRecovery, PruneTarget, Request, ZeroPattern,
};

use crate::arguments::{MakingArguments, ModelArguments};
use crate::progress::Bar;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true)
    .args(["target_memory", "sparsity", "unstructured", "two_four"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The file to write
    output: PathBuf,
    /// At most this share of the memory is left, such as 0.6
    #[arg(long, value_name = "SHARE")]
    target_memory: Option<f64>,
    /// What counts as memory for `--target-memory`
    #[arg(long, value_enum, default_value_t = MeasureArgument::Arena)]
    of: MeasureArgument,
    /// This share of each group's channels goes on average, such as 0.4
    #[arg(long, value_name = "SHARE")]
    sparsity: Option<f64>,
    /// This share of the weights becomes zero; shapes stay and no memory is saved
    #[arg(long, value_name = "SHARE")]
    unstructured: Option<f64>,
    /// Two of every four weights become zero; shapes stay and no memory is saved
    #[arg(long)]
    two_four: bool,
    /// How channels are compared
    #[arg(long, value_enum, default_value_t = ImportanceArgument::Wanda)]
    importance: ImportanceArgument,
    /// What is done for the answers afterwards
    #[arg(long, value_enum, default_value_t = RecoverArgument::Refit)]
    recover: RecoverArgument,
    /// How often distillation goes through the data
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: u64,
    /// Learning rate of distillation
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    rate: f64,
    /// Inputs to compare channels, refit and distil on: an `.npz` file or a folder of them
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    making: MakingArguments,
    /// The answer as JSON (`onnxfit.prune/1`)
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MeasureArgument {
    /// The CPU arena at its peak: weights and activations
    Arena,
    /// The weights
    Weights,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ImportanceArgument {
    /// By their weights
    Magnitude,
    /// By weights and what flows through them
    Wanda,
    /// By weights and the gradients of the answers
    Taylor,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecoverArgument {
    /// Nothing
    Off,
    /// What is left takes over, in closed form
    Refit,
    /// The refit, and then learning from the original
    Distill,
}

impl Arguments {
    fn target(&self) -> PruneTarget {
        let measure = match self.of {
            MeasureArgument::Arena => PruneMeasure::Arena,
            MeasureArgument::Weights => PruneMeasure::Weights,
        };
        match (self.target_memory, self.sparsity, self.unstructured) {
            (Some(share), _, _) => PruneTarget::Memory(share, measure),
            (_, Some(share), _) => PruneTarget::Sparsity(share),
            (_, _, Some(share)) => PruneTarget::Zeros(ZeroPattern::Unstructured(share)),
            _ => PruneTarget::Zeros(ZeroPattern::TwoOfFour),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let mut request = Request::new(Provider::Cpu);
    arguments.model.bind(&mut request);
    let model = Model::open(&arguments.model.model)?;
    let options = PruneOptions {
        target: arguments.target(),
        importance: match arguments.importance {
            ImportanceArgument::Magnitude => PruneImportance::Magnitude,
            ImportanceArgument::Wanda => PruneImportance::Wanda,
            ImportanceArgument::Taylor => PruneImportance::Taylor,
        },
        recovery: match arguments.recover {
            RecoverArgument::Off => PruneRecovery::Off,
            RecoverArgument::Refit => PruneRecovery::Refit,
            RecoverArgument::Distill => PruneRecovery::Distill { n_epochs: arguments.epochs, rate: arguments.rate },
        },
        output: arguments.output.clone(),
        data: arguments.data.clone(),
        seed: arguments.making.seed,
        random_weights: arguments.making.random_weights,
        force: arguments.making.force,
        offline: arguments.making.offline,
        worker: super::program()?,
    };
    let bar = Bar::new();
    let view = onnxfit::prune(&model, &request, &options, &bar)?;
    drop(bar);
    super::answer(arguments.json, &view, |mut out| onnxfit::report::prune::write_text(&mut out, &view))?;
    Ok(if view.pruned { 0 } else { 1 })
}
