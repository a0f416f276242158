//! Cross-layer equalization: channels between two convolutions get weights of equal size, so that
//! one scale serves them all (Nagel and others, "Data-Free Quantization Through Weight Equalization
//! and Bias Correction", 2019).
//!
//! Rounding differs. Only where the answers stay: between the two is nothing, or an activation that
//! scales with its input (`Relu`, `LeakyRelu`), read by nobody else.

use std::collections::BTreeMap;

use onnxfit_graph::{Graph, Model, Node, Patch, ValueId};
use onnxfit_onnx::TensorSource;

use crate::QuantizeError;
use crate::constants::{float_dims, float_tensor, floats, sweep};

/// Pairs are gone over so often: chains settle within a few rounds.
const ROUNDS_MAX: usize = 8;
/// A round that changes no factor by more than this is the last.
const SETTLED: f32 = 1e-3;

/// The model with equalized convolutions; the number of pairs.
pub fn equalize(model: &Model, source: &dyn TensorSource) -> Result<(Model, usize), QuantizeError> {
    let graph = &model.graph;
    let pairs: Vec<Pair> = graph.nodes().filter_map(|(_, node)| pair_behind(graph, node)).collect();
    let mut tensors: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
    for value in pairs.iter().flat_map(|pair| [Some(pair.first), pair.bias, Some(pair.second)]).flatten() {
        if let Some(tensor) = graph.constant_tensor(value) {
            tensors.insert(value, floats(tensor, source)?);
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut largest_change = 0f32;
        for pair in &pairs {
            largest_change = largest_change.max(pair.equalize(&mut tensors));
        }
        if largest_change < SETTLED {
            break;
        }
    }
    let mut patch = Patch::new(graph, "equalize");
    for (value, numbers) in &tensors {
        let dims = float_dims(graph, *value).unwrap_or_default();
        patch.set_initializer(*value, float_tensor(&graph.value(*value).name, &dims, numbers));
    }
    let mut equalized = model.clone();
    equalized.graph.apply(&patch)?;
    sweep(&mut equalized)?;
    Ok((equalized, pairs.len()))
}

/// Two convolutions, one behind the other.
struct Pair {
    first: ValueId,
    bias: Option<ValueId>,
    second: ValueId,
    n_channels: usize,
    /// Channels of the second that one of its filters reads.
    per_group: usize,
    second_dims: Vec<usize>,
}

/// The pair that begins with this node.
fn pair_behind(graph: &Graph, node: &Node) -> Option<Pair> {
    let own = |value: ValueId| graph.value(value).is_fixed() && graph.value(value).uses.len() == 1;
    if !node.is("Conv") {
        return None;
    }
    let first = node.input(1).filter(|value| own(*value))?;
    let bias = node.input(2);
    if bias.is_some_and(|bias| !own(bias) || float_dims(graph, bias).is_none()) {
        return None;
    }
    let mut at = node.output(0)?;
    let second = loop {
        let value = graph.value(at);
        let [only] = value.uses.as_slice() else { return None };
        if value.is_output || only.input != Some(0) {
            return None;
        }
        let reader = graph.node(only.node);
        if reader.is("Conv") {
            break reader;
        }
        let is_leaky = reader.is("LeakyRelu") && reader.float("alpha").unwrap_or(0.01) >= 0.0;
        if !is_leaky && !reader.is("Relu") {
            return None;
        }
        at = reader.output(0)?;
    };
    let second_weight = second.input(1).filter(|value| own(*value))?;
    let (first_dims, second_dims) = (float_dims(graph, first)?, float_dims(graph, second_weight)?);
    let n_groups = usize::try_from(second.int("group").unwrap_or(1)).ok()?;
    let (n_channels, per_group) = (*first_dims.first()?, *second_dims.get(1)?);
    let fits = per_group.checked_mul(n_groups)? == n_channels && second_dims[0].is_multiple_of(n_groups.max(1));
    fits.then_some(Pair { first, bias, second: second_weight, n_channels, per_group, second_dims })
}

impl Pair {
    /// Scales both; the largest change of a channel, as a share.
    fn equalize(&self, tensors: &mut BTreeMap<ValueId, Vec<f32>>) -> f32 {
        let (Some(first), Some(second)) = (tensors.get(&self.first), tensors.get(&self.second)) else { return 0.0 };
        let (mut first, mut second) = (first.clone(), second.clone());
        let mut bias = self.bias.and_then(|bias| tensors.get(&bias).cloned());
        let per_filter = first.len() / self.n_channels.max(1);
        let kernel: usize = self.second_dims[2..].iter().product();
        let n_filters = self.second_dims[0];
        let filters_per_group = n_filters / (self.n_channels / self.per_group.max(1)).max(1);
        let mut largest_change = 0f32;
        for channel in 0..self.n_channels {
            let (group, within) = (channel / self.per_group, channel % self.per_group);
            let readers = (group * filters_per_group..(group + 1) * filters_per_group)
                .flat_map(|filter| {
                    let start = (filter * self.per_group + within) * kernel;
                    start..start + kernel
                })
                .collect::<Vec<_>>();
            let writers = channel * per_filter..(channel + 1) * per_filter;
            let size = |numbers: &[f32]| numbers.iter().fold(0f32, |most, number| most.max(number.abs()));
            let made = size(&first[writers.clone()]);
            let read = readers.iter().fold(0f32, |most, index| most.max(second[*index].abs()));
            let factor = (made / read).sqrt();
            // A channel that nobody makes or reads has no size to share; huge factors lose bits.
            if !(1e-4..=1e4).contains(&factor) {
                continue;
            }
            largest_change = largest_change.max((factor - 1.0).abs());
            first[writers].iter_mut().for_each(|number| *number /= factor);
            if let Some(bias) = bias.as_mut().and_then(|bias| bias.get_mut(channel)) {
                *bias /= factor;
            }
            readers.iter().for_each(|index| second[*index] *= factor);
        }
        tensors.insert(self.first, first);
        tensors.insert(self.second, second);
        if let (Some(id), Some(bias)) = (self.bias, bias) {
            tensors.insert(id, bias);
        }
        largest_change
    }
}
