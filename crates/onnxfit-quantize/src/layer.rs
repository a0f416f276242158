//! What may get fewer bits, and how many it gets.

use std::collections::BTreeMap;

/// How many bits the weights of a layer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Four bits.
    Int4,
    /// Eight bits.
    Int8,
    /// Half precision.
    Half,
    /// As they were.
    Float,
}

impl Level {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Half => "fp16",
            Self::Float => "fp32",
        }
    }

    /// About how many bits a weight takes, its share of the scales included (blocks of 32).
    pub const fn bits(self) -> u64 {
        match self {
            Self::Int4 => 5,
            Self::Int8 => 8,
            Self::Half => 16,
            Self::Float => 32,
        }
    }
}

/// A node that may be quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name in [`Choice`] and in answers: unique in the model.
    pub name: String,
    /// Its operator.
    pub op_type: String,
    /// How many weights it has.
    pub n_weights: u64,
    /// The levels it may have, fewest bits first; [`Level::Float`] is the last.
    pub levels: Vec<Level>,
}

/// The level of each layer; one that is not named stays as it was.
pub type Choice = BTreeMap<String, Level>;

/// The level of a layer.
pub fn level_of(choice: &Choice, layer: &str) -> Level {
    choice.get(layer).copied().unwrap_or(Level::Float)
}
