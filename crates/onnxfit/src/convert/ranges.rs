//! Measures every float value of a model while it runs: how large, how small, how much would be
//! lost in half width. Streaming: one piece of the model is in memory at a time.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::DataType;
use onnxfit_rewrite::half::{HalfType, ValueRange};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{ElementType, Tensor, Tensors};
use onnxfit_shape::{Bindings, infer};

use crate::Error;
use crate::chain::{Chain, on_all_cores};
use crate::probe::{Probe, groups};
use crate::progress::{Progress, Stage};
use crate::samples::Samples;

/// What is taken at once.
const GROUP_BYTES_MAX: u64 = 256 << 20;
/// What a value whose size is not known is taken for, until a run has told of such values.
const UNKNOWN_BYTES: u64 = 16 << 20;
/// No value is taken for less than this.
const LEAST_BYTES: u64 = 1 << 10;
/// So much larger than the largest seen so far may an unknown value be.
const UNKNOWN_GROWTH: u64 = 4;

/// What was seen of one value over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    smallest: f32,
    largest: f32,
    pub(crate) smallest_nonzero: Option<f32>,
    n_finite: u64,
    n_nonzero: u64,
    n_overflowing: u64,
    n_vanishing: u64,
    pub(crate) n_not_finite: u64,
}

impl Seen {
    /// Takes more numbers in.
    pub(crate) fn add(&mut self, numbers: impl Iterator<Item = f32>, target: HalfType) {
        // Half of the smallest number and less is rounded to zero.
        let (bound, least) = (target.max(), target.min_positive() / 2.0);
        for number in numbers {
            if !number.is_finite() {
                self.n_not_finite += 1;
                continue;
            }
            self.n_finite += 1;
            self.smallest = self.smallest.min(number);
            self.largest = self.largest.max(number);
            let size = number.abs();
            if size == 0.0 {
                continue;
            }
            self.n_nonzero += 1;
            self.n_overflowing += u64::from(size > bound);
            self.n_vanishing += u64::from(size <= least);
            if self.smallest_nonzero.is_none_or(|smallest| size < smallest) {
                self.smallest_nonzero = Some(size);
            }
        }
    }

    /// Takes what was seen of the same value elsewhere.
    fn join(&mut self, other: &Self) {
        self.smallest = self.smallest.min(other.smallest);
        self.largest = self.largest.max(other.largest);
        let nonzero = [self.smallest_nonzero, other.smallest_nonzero].into_iter().flatten();
        self.smallest_nonzero = nonzero.reduce(f32::min);
        self.n_finite += other.n_finite;
        self.n_nonzero += other.n_nonzero;
        self.n_overflowing += other.n_overflowing;
        self.n_vanishing += other.n_vanishing;
        self.n_not_finite += other.n_not_finite;
    }

    /// Bytes of one run's value.
    pub(crate) fn bytes(&self, n_samples: usize) -> u64 {
        4 * (self.n_finite + self.n_not_finite) / n_samples.max(1) as u64
    }

    pub(crate) fn max_abs(&self) -> f32 {
        self.largest.max(-self.smallest)
    }

    /// The share of the finite numbers that are past the range.
    pub(crate) fn share_overflowing(&self) -> f64 {
        self.n_overflowing as f64 / self.n_finite.max(1) as f64
    }

    /// The share of the nonzero numbers that become zero.
    pub(crate) fn share_vanishing(&self) -> f64 {
        self.n_vanishing as f64 / self.n_nonzero.max(1) as f64
    }

    pub(crate) fn range(&self) -> ValueRange {
        ValueRange { smallest: self.smallest, largest: self.largest, share_vanishing: self.share_vanishing() as f32 }
    }
}

/// A float model that is run to see what numbers its values hold.
pub(super) struct Measuring<'a> {
    pub(super) model: &'a GraphModel,
    /// The model on the desk.
    pub(super) probe: &'a Probe,
    pub(super) samples: &'a Samples,
    /// Whose range the numbers are held against.
    pub(super) target: HalfType,
    pub(super) library: &'a Path,
    pub(super) progress: &'a dyn Progress,
}

impl Measuring<'_> {
    /// Runs the model and looks at all its float values: once for each sample where it can be run in
    /// pieces, once for each group of values elsewhere.
    pub(super) fn measure(&self, client: &mut Client) -> Result<BTreeMap<String, Seen>, Error> {
        let mut seen = match self.in_pieces() {
            Ok(seen) => seen,
            Err(_) => self.in_groups(client)?,
        };
        for index in 0..self.samples.len() {
            for (name, tensor) in self.samples.get(index)?.iter() {
                add(seen.entry(name.to_owned()).or_default(), tensor, self.target);
            }
        }
        Ok(seen)
    }

    fn doing(&self, done: u64, total: u64) {
        self.progress.stage(&Stage::Counted { what: "measuring ranges".to_owned(), done, total });
    }

    fn in_pieces(&self) -> Result<BTreeMap<String, Seen>, Error> {
        let Self { model, probe, samples, target, library, .. } = *self;
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        let mut chain = Chain::open(library, probe.desk(), model, probe.proto(), &samples.get(0)?, |_| true)?;
        for index in 0..samples.len() {
            let (done, total) = (index as u64, samples.len() as u64);
            self.doing(done, total);
            chain.run(&samples.get(index)?, |values| {
                let mut jobs: Vec<(&str, &[f32], Seen)> =
                    values.iter().map(|(name, numbers)| (*name, *numbers, Seen::default())).collect();
                on_all_cores(&mut jobs, |(_, numbers, own)| own.add(numbers.iter().copied(), target));
                for (name, _, own) in jobs {
                    seen.entry(name.to_owned()).or_default().join(&own);
                }
            })?;
        }
        Ok(seen)
    }

    fn in_groups(&self, client: &mut Client) -> Result<BTreeMap<String, Seen>, Error> {
        let Self { model, samples, .. } = *self;
        let values = sized_values(model, &samples.get(0)?);
        let n_values = values.len() as u64;
        let (known, mut unknown): (Vec<_>, Vec<_>) = values.into_iter().partition(|(_, bytes)| bytes.is_some());
        let known: Vec<(&str, u64)> =
            known.iter().map(|(name, bytes)| (name.as_str(), bytes.unwrap_or_default())).collect();
        unknown.reverse();
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        let mut waiting: Vec<Vec<String>> =
            groups(&known, GROUP_BYTES_MAX).iter().rev().map(|group| owned(group)).collect();
        // What unknown values may take: after each group, what they were seen to take.
        let mut unknown_bytes = UNKNOWN_BYTES;
        let mut done = 0;
        while let Some(group) = waiting.pop().or_else(|| {
            let n_next = ((GROUP_BYTES_MAX / unknown_bytes).max(1) as usize).min(unknown.len());
            (n_next > 0)
                .then(|| unknown.split_off(unknown.len() - n_next).into_iter().rev().map(|(name, _)| name).collect())
        }) {
            self.doing(done, n_values);
            let names: Vec<&str> = group.iter().map(String::as_str).collect();
            match self.group(&names, client) {
                Ok(found) => {
                    done += group.len() as u64;
                    if done > known.len() as u64
                        && let Some(largest) = found.values().map(|seen| seen.bytes(samples.len())).max()
                    {
                        unknown_bytes = (UNKNOWN_GROWTH * largest).clamp(LEAST_BYTES, UNKNOWN_BYTES);
                    }
                    seen.extend(found);
                }
                // A value that cannot be given back hides no other: it stays unmeasured, alone.
                Err(_) if group.len() > 1 => {
                    let (left, right) = group.split_at(group.len() / 2);
                    waiting.push(right.to_vec());
                    waiting.push(left.to_vec());
                }
                Err(_) => done += 1,
            }
        }
        Ok(seen)
    }

    fn group(&self, group: &[&str], client: &mut Client) -> Result<BTreeMap<String, Seen>, Error> {
        let Self { probe, samples, target, library, .. } = *self;
        probe.open(client, library, group)?;
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for index in 0..samples.len() {
            for (name, tensor) in Probe::run(client, &samples.get(index)?)?.iter() {
                add(seen.entry(name.to_owned()).or_default(), tensor, target);
            }
        }
        Ok(seen)
    }
}

fn add(seen: &mut Seen, tensor: &Tensor, target: HalfType) {
    if tensor.element_type() != ElementType::Float {
        return;
    }
    let (numbers, _) = tensor.bytes().unwrap_or_default().as_chunks::<4>();
    seen.add(numbers.iter().map(|number| f32::from_le_bytes(*number)), target);
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The values that nodes of the main graph make and that are or may be float, in file order, with
/// their bytes.
pub(crate) fn float_values(model: &GraphModel, inputs: &Tensors) -> Vec<(String, u64)> {
    let values = sized_values(model, inputs).into_iter();
    values.map(|(name, bytes)| (name, bytes.unwrap_or(UNKNOWN_BYTES))).collect()
}

/// The same, with the bytes only where they are known.
fn sized_values(model: &GraphModel, inputs: &Tensors) -> Vec<(String, Option<u64>)> {
    let facts = infer(model, &bindings(inputs)).graph;
    let nodes = model.graph.nodes().filter(|(_, node)| !node.is("Constant"));
    let outputs = nodes.flat_map(|(_, node)| node.outputs.iter().copied().flatten());
    let floats = outputs.filter_map(|id| {
        let fact = facts.get(id)?;
        // Where the type is not known, the run tells it.
        let is_float = fact.element_type.is_none_or(|element_type| element_type == DataType::Float);
        let bytes = fact.concrete_bytes().map(|bytes| bytes.get());
        is_float.then(|| (model.graph.value(id).name.clone(), bytes))
    });
    floats.collect()
}

/// What a set of inputs says of sizes.
pub(crate) fn bindings(inputs: &Tensors) -> Bindings {
    let shape = |tensor: &Tensor| tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
    Bindings {
        inputs: inputs.iter().map(|(name, tensor)| (name.to_owned(), shape(tensor))).collect(),
        values: known_numbers(inputs),
        ..Bindings::default()
    }
}

/// Short whole-number inputs may be sizes.
fn known_numbers(inputs: &Tensors) -> BTreeMap<String, Vec<i64>> {
    const LENGTH_MAX: u64 = 64;
    let short = inputs.iter().filter(|(_, tensor)| {
        matches!(tensor.element_type(), ElementType::Int64 | ElementType::Int32) && tensor.len() <= LENGTH_MAX
    });
    let numbers = short.filter_map(|(name, tensor)| {
        let numbers = tensor.values()?.into_iter().map(|number| number as i64).collect();
        Some((name.to_owned(), numbers))
    });
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_the_half_type_loses_are_counted() {
        let mut seen = Seen::default();
        let numbers = [0.0, 1.0, -70_000.0, 1e-9, 2e-8, f32::NAN, f32::NEG_INFINITY, 5e-8];
        seen.add(numbers.into_iter(), HalfType::Float16);
        assert_eq!((seen.max_abs(), seen.smallest_nonzero, seen.n_not_finite), (70_000.0, Some(1e-9), 2));
        assert_eq!((seen.n_finite, seen.n_nonzero, seen.n_overflowing, seen.n_vanishing), (6, 5, 1, 2));
        assert_eq!(seen.range(), ValueRange { smallest: -70_000.0, largest: 1.0, share_vanishing: 0.4 });
        let mut wide = Seen::default();
        wide.add(numbers.into_iter(), HalfType::Bfloat16);
        assert_eq!((wide.n_overflowing, wide.n_vanishing), (0, 0));
    }

    #[test]
    fn measuring_in_pieces_is_measuring_at_once() {
        let numbers: Vec<f32> = (0..1000).map(|n| (n as f32 - 500.0) * 1e3).collect();
        let (mut once, mut pieces, mut joined) = (Seen::default(), Seen::default(), Seen::default());
        once.add(numbers.iter().copied(), HalfType::Float16);
        for piece in numbers.chunks(7) {
            pieces.add(piece.iter().copied(), HalfType::Float16);
            let mut own = Seen::default();
            own.add(piece.iter().copied(), HalfType::Float16);
            joined.join(&own);
        }
        assert_eq!((once, once), (pieces, joined));
        assert_eq!(once.share_overflowing(), 0.869);
    }
}
