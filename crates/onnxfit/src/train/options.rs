//! How a model is trained, as it is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit_data::{BadSamples, OpenOptions};
use onnxfit_rewrite::uint8_input::Uint8Options;
use onnxfit_train::{BatchNorm, Decay, Group, Moments, Optimizer, Rule, Schedule};

/// What is minimized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossChoice {
    /// Cross entropy with class numbers; this one means "no label".
    CrossEntropy {
        /// A label that does not count.
        ignore_index: Option<i64>,
    },
    /// The squared difference.
    SquaredError,
    /// Divergence from logits, softened by a temperature.
    Divergence {
        /// The temperature.
        temperature: f64,
    },
}

/// How the learning rate goes on after warming up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecayChoice {
    /// It stays.
    #[default]
    Constant,
    /// A straight line to zero.
    Linear,
    /// Half a cosine to zero.
    Cosine,
}

/// Whether activations are computed again instead of kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recomputing {
    /// If the batch does not fit otherwise, and little of it at once does.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always, as much as there is to gain.
    Always,
}

/// How a model is trained.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The samples.
    pub data: PathBuf,
    /// Samples that it does not learn from; each pass ends with them, and the model is written as it
    /// was when their loss was least.
    pub validation: Option<PathBuf>,
    /// How they are read.
    pub open: OpenOptions,
    /// How the bytes of images become floats.
    pub pixels: Uint8Options,
    /// The model to write.
    pub output: PathBuf,
    /// What is minimized.
    pub loss: LossChoice,
    /// The value that the loss looks at; the first output if `None`.
    pub value: Option<String>,
    /// The field of the data with the targets; the only one left if `None`.
    pub target: Option<String>,
    /// Which field feeds which input, where the names differ.
    pub map: BTreeMap<String, String>,
    /// Passes over the data.
    pub n_epochs: u64,
    /// Ends earlier, after this many steps.
    pub n_steps_max: Option<u64>,
    /// Samples of a step.
    pub batch: u64,
    /// Samples that go through at once; as many as fit if `None`.
    pub micro_batch: Option<u64>,
    /// How gradients change parameters.
    pub rule: Rule,
    /// The learning rate.
    pub rate: f64,
    /// Steps over which it rises.
    pub n_warmup_steps: u64,
    /// How it goes on.
    pub decay: DecayChoice,
    /// The largest norm of all gradients together.
    pub gradient_norm_max: Option<f64>,
    /// How much of each weight is taken away.
    pub weight_decay: f64,
    /// Parameters whose name has one of these texts in it do not change.
    pub freeze: Vec<String>,
    /// Only parameters whose name has one of these texts in it change; all if empty.
    pub only: Vec<String>,
    /// Parameters with a learning rate of their own: a text in the name, and a factor.
    pub rate_factors: Vec<(String, f64)>,
    /// Adapters of this many rows instead of the weights themselves.
    pub lora_rank: Option<u64>,
    /// What `BatchNormalization` does.
    pub batch_norm: BatchNorm,
    /// Whether the model computes in half precision, its weights kept in single.
    pub mixed: bool,
    /// Whether activations are computed again.
    pub recompute: Recomputing,
    /// What shuffles, and makes adapters.
    pub seed: u64,
    /// Whether samples come in another order each epoch.
    pub shuffle: bool,
    /// What happens to bad samples.
    pub bad_samples: BadSamples,
    /// Whether an epoch's last batch is left out if it is smaller.
    pub drops_last: bool,
    /// The folder of checkpoints; beside the output if `None`.
    pub checkpoints: Option<PathBuf>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Go on from the newest checkpoint.
    pub resume: bool,
    /// The log, a line of JSON for each step; beside the output if `None`.
    pub log: Option<PathBuf>,
    /// Fill absent weights with random numbers of this seed.
    pub random_weights: Option<u64>,
    /// Install nothing.
    pub offline: bool,
}

impl TrainOptions {
    /// Cross entropy, AdamW at 1e-3, one epoch in batches of 32.
    pub fn new(data: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            validation: None,
            open: OpenOptions::default(),
            pixels: Uint8Options::default(),
            output: output.into(),
            loss: LossChoice::CrossEntropy { ignore_index: None },
            value: None,
            target: None,
            map: BTreeMap::new(),
            n_epochs: 1,
            n_steps_max: None,
            batch: 32,
            micro_batch: None,
            rule: Rule::AdamW(Moments::default()),
            rate: 1e-3,
            n_warmup_steps: 0,
            decay: DecayChoice::default(),
            gradient_norm_max: None,
            weight_decay: 0.0,
            freeze: Vec::new(),
            only: Vec::new(),
            rate_factors: Vec::new(),
            lora_rank: None,
            batch_norm: BatchNorm::default(),
            mixed: false,
            recompute: Recomputing::default(),
            seed: 0,
            shuffle: true,
            bad_samples: BadSamples::default(),
            drops_last: false,
            checkpoints: None,
            checkpoint_every: 100,
            resume: false,
            log: None,
            random_weights: None,
            offline: false,
        }
    }

    pub(super) fn optimizer(&self) -> Optimizer {
        let mut groups: Vec<Group> = Vec::new();
        if !self.freeze.is_empty() {
            groups.push(Group { name_contains: self.freeze.clone(), is_frozen: true, ..Group::default() });
        }
        let factor = |(part, factor): &(String, f64)| Group {
            name_contains: vec![part.clone()],
            rate_factor: Some(*factor),
            ..Group::default()
        };
        groups.extend(self.rate_factors.iter().map(factor));
        // Biases and the gains of normalizations do not decay.
        groups.push(Group { rank_max: Some(1), weight_decay: Some(0.0), ..Group::default() });
        Optimizer {
            rule: self.rule,
            weight_decay: self.weight_decay,
            gradient_norm_max: self.gradient_norm_max,
            groups,
        }
    }

    pub(super) fn schedule(&self, n_steps: u64) -> Schedule {
        let decay = match self.decay {
            DecayChoice::Constant => Decay::Constant,
            DecayChoice::Linear => Decay::Linear { n_steps, end_factor: 0.0 },
            DecayChoice::Cosine => Decay::Cosine { n_steps, end_factor: 0.0 },
        };
        Schedule { rate: self.rate, n_warmup_steps: self.n_warmup_steps, decay }
    }
}
