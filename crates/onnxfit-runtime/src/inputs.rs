//! Makes up inputs that a model can really run on, the same for the same seed.
//!
//! A random number in the wrong place proves nothing: an id outside the vocabulary fails, a mask
//! of noise hides everything. So each input gets what its name and type say that it is.

use crate::{ElementType, Tensor, Tensors, tensor::element_count};

/// One input to be made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Name.
    pub name: String,
    /// Element type.
    pub element_type: ElementType,
    /// Shape; every dimension bound.
    pub shape: Vec<i64>,
    /// What it is; `None` asks its name and type.
    pub role: Option<InputRole>,
}

/// What an input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRole {
    /// Values of a standard normal distribution: pixels, features, audio, noise, caches.
    Normal,
    /// Ids below the vocabulary's size.
    Ids,
    /// Ones: everything is looked at.
    Mask,
    /// Zeros: segment ids, switches that are off.
    Zeros,
    /// One if the past that is given has a length, else zero.
    CacheSwitch,
    /// `0, 1, 2, …` along the last axis.
    Positions,
    /// The length of the other inputs' sequences.
    Lengths,
    /// Height and width of the image input.
    ImageSize,
    /// Samples per second.
    SampleRate,
    /// A diffusion step.
    Timestep,
}

/// What the caller knows about all inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// Same seed, same inputs.
    pub seed: u64,
    /// Ids are below this; without it below [`SAFE_VOCABULARY`].
    pub vocab_size: Option<u64>,
}

/// A vocabulary that hardly any model stays below.
pub const SAFE_VOCABULARY: u64 = 100;

/// Why an input cannot be made up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A dimension has no value.
    #[error("input `{name}` has the shape {shape:?}: give every dimension a size")]
    OpenDimension {
        /// Input's name.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// Larger than any memory.
    #[error("input `{name}` of shape {shape:?} is larger than any memory")]
    TooLarge {
        /// Input's name.
        name: String,
        /// Its shape.
        shape: Vec<i64>,
    },
    /// A type for which there are no numbers.
    #[error("input `{name}` is {element_type}, which cannot be made up; give it in a .npz file")]
    Type {
        /// Input's name.
        name: String,
        /// Its type.
        element_type: ElementType,
    },
}

/// Makes up all inputs. Each depends on its own name and the seed, not on its neighbours' number
/// or order; only lengths and image sizes look at the other inputs' shapes.
pub fn make(specs: &[InputSpec], options: InputOptions) -> Result<Tensors, InputError> {
    specs.iter().map(|spec| Ok((spec.name.clone(), make_one(spec, specs, options)?))).collect()
}

impl InputSpec {
    /// The role that was given, or the one that name and type suggest.
    pub fn guessed_role(&self) -> InputRole {
        self.role.unwrap_or_else(|| guess(&self.name, self.element_type, &self.shape))
    }
}

/// The first rule that knows the name decides; names are compared in lower case.
const RULES: &[(&[&str], Kind, InputRole)] = &[
    (&["has_mask_input", "mask_input", "token_type_ids", "segment_ids"], Kind::Any, InputRole::Zeros),
    (&["use_cache"], Kind::Any, InputRole::CacheSwitch),
    (&["mask", "point_labels"], Kind::Any, InputRole::Mask),
    (&["position_ids", "cache_position", "positions"], Kind::Integer, InputRole::Positions),
    (&["target_size", "im_size", "image_size", "original_size", "im_shape"], Kind::Any, InputRole::ImageSize),
    (&["length", "_len", "seqlen", "num_frames"], Kind::Integer, InputRole::Lengths),
    (&["sample_rate", "sampling_rate"], Kind::Any, InputRole::SampleRate),
    (&["timestep"], Kind::Any, InputRole::Timestep),
    (&["ids", "token", "labels", "input"], Kind::Integer, InputRole::Ids),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Any,
    Integer,
}

fn guess(name: &str, element_type: ElementType, shape: &[i64]) -> InputRole {
    let lower = name.to_ascii_lowercase();
    if lower == "sr" {
        return InputRole::SampleRate;
    }
    let rule = RULES.iter().find(|(names, kind, _)| {
        (*kind == Kind::Any || element_type.is_integer()) && names.iter().any(|part| lower.contains(part))
    });
    match (rule, element_type) {
        (Some((_, _, role)), _) => *role,
        (None, ElementType::Bool) => InputRole::Mask,
        // Bytes of three axes or more are pixels, other whole numbers are ids.
        (None, ElementType::Uint8) if shape.len() >= 3 => InputRole::Normal,
        (None, other) if other.is_integer() => InputRole::Ids,
        _ => InputRole::Normal,
    }
}

fn make_one(spec: &InputSpec, all: &[InputSpec], options: InputOptions) -> Result<Tensor, InputError> {
    let too_large = || InputError::TooLarge { name: spec.name.clone(), shape: spec.shape.clone() };
    let shape: Vec<u64> = spec
        .shape
        .iter()
        .map(|dim| u64::try_from(*dim))
        .collect::<Result<_, _>>()
        .map_err(|_| InputError::OpenDimension { name: spec.name.clone(), shape: spec.shape.clone() })?;
    // Values pass through `f64`, so eight bytes each must be addressable.
    let count = element_count(&shape).filter(|count| *count <= isize::MAX as u64 / 8).ok_or_else(too_large)?;
    let count = usize::try_from(count).map_err(|_| too_large())?;
    if spec.element_type == ElementType::String {
        return Tensor::from_strings(shape, vec!["text".to_owned(); count]).map_err(|_| too_large());
    }
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| too_large())?;
    fill(&mut values, count, spec, all, options);
    Tensor::from_f64(spec.element_type, shape, &values)
        .ok_or_else(|| InputError::Type { name: spec.name.clone(), element_type: spec.element_type })?
        .map_err(|_| too_large())
}

fn fill(values: &mut Vec<f64>, count: usize, spec: &InputSpec, all: &[InputSpec], options: InputOptions) {
    let mut random = Random::new(options.seed, &spec.name);
    let last = spec.shape.last().copied().unwrap_or(1).max(1) as usize;
    match spec.guessed_role() {
        InputRole::Normal if spec.element_type == ElementType::Uint8 => {
            values.extend((0..count).map(|_| random.below(256) as f64));
        }
        InputRole::Normal if spec.element_type.is_integer() => {
            values.extend((0..count).map(|_| random.below(SAFE_VOCABULARY) as f64));
        }
        InputRole::Normal => values.extend((0..count).map(|_| random.normal())),
        InputRole::Ids => {
            // Small types cannot hold a large id.
            let bits = spec.element_type.bits().clamp(2, 53);
            let most = options.vocab_size.unwrap_or(SAFE_VOCABULARY).clamp(1, 1 << (bits - 1));
            values.extend((0..count).map(|_| random.below(most) as f64));
        }
        InputRole::Mask => values.extend(std::iter::repeat_n(1.0, count)),
        InputRole::Zeros => values.extend(std::iter::repeat_n(0.0, count)),
        InputRole::CacheSwitch => {
            let past = all.iter().any(|other| other.name.contains("past") && !other.shape.contains(&0));
            values.extend(std::iter::repeat_n(f64::from(past), count));
        }
        InputRole::Positions => values.extend((0..count).map(|at| (at % last) as f64)),
        InputRole::Lengths => values.extend(std::iter::repeat_n(sequence_length(spec, all), count)),
        InputRole::ImageSize => {
            let size = image_size(spec, all);
            values.extend((0..count).map(|at| size[at % last % 2]));
        }
        InputRole::SampleRate => values.extend(std::iter::repeat_n(16_000.0, count)),
        InputRole::Timestep => values.extend(std::iter::repeat_n(500.0, count)),
    }
}

/// The longest second axis among the inputs that are sequences; features after it do not matter.
fn sequence_length(spec: &InputSpec, all: &[InputSpec]) -> f64 {
    let others = all.iter().filter(|other| other.name != spec.name);
    // The stem that both names share says whose length it is: `text_lengths` and `text`.
    let stem = spec.name.split(['_', '.']).next().unwrap_or_default();
    let named = others.clone().filter(|other| !stem.is_empty() && other.name.starts_with(stem));
    let longest = |specs: &mut dyn Iterator<Item = &InputSpec>| {
        specs
            .filter_map(|other| match other.shape.as_slice() {
                [_, channels, frames] if other.element_type.is_float() => Some(*channels.max(frames)),
                [_, length, ..] => Some(*length),
                _ => None,
            })
            .max()
    };
    longest(&mut named.into_iter()).or_else(|| longest(&mut others.into_iter())).unwrap_or(1) as f64
}

/// Height and width of the largest input of four axes, whichever axis its channels are.
fn image_size(spec: &InputSpec, all: &[InputSpec]) -> [f64; 2] {
    let images = all.iter().filter(|other| other.name != spec.name && other.shape.len() == 4);
    let image = images.max_by_key(|image| image.shape.iter().fold(1i64, |product, dim| product.saturating_mul(*dim)));
    match image.map(|image| image.shape.as_slice()) {
        Some([_, height, width, 1 | 3 | 4]) => [*height as f64, *width as f64],
        Some([_, _, height, width]) => [*height as f64, *width as f64],
        _ => [1024.0, 1024.0],
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough for test data, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a keeps two inputs of one seed apart.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut random = Self(seed);
        Self(random.next() ^ hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `most`, which is far below 2^53.
    fn below(&mut self, most: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(most)) >> 64) as u64
    }

    /// In `0..1`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller's way to the normal distribution.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests;
