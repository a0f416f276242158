//! How much each atom matters: by its weights, by what flows through it, or by gradients.

use std::collections::BTreeMap;

use onnxfit_graph::ValueId;
use onnxfit_onnx::TensorSource;

use crate::analysis::Analysis;
use crate::elements::Axis;
use crate::error::PruneError;
use crate::numbers::{axis_sums, decode, sizes};
use crate::source::CuttingSource;

/// A weight that sums over the channels of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contraction {
    /// The channels that come in.
    pub input: Axis,
    /// The weight's axis that meets them.
    pub weight: Axis,
}

/// How atoms are compared.
pub enum Importance<'a> {
    /// The squared weights of all that goes with an atom.
    Magnitude,
    /// Squared weights times the mean square of what they are multiplied with, by channel (after
    /// Sun and others, 2023, in its structured form).
    Activation(&'a BTreeMap<Axis, Vec<f64>>),
    /// The first term of a Taylor series: weight times gradient, summed over the atom (after
    /// Molchanov and others, 2019). Gradients by the weight's name.
    Gradient(&'a BTreeMap<String, Vec<f32>>),
}

impl Analysis {
    /// The weights that sum over channels of activations.
    pub fn contractions(&self) -> Vec<Contraction> {
        let graph = &self.model.graph;
        let mut found = Vec::new();
        for (_, node) in graph.nodes() {
            let (Some(input), Some(weight)) = (node.input(0), node.input(1)) else { continue };
            if graph.constant_tensor(weight).is_none() || graph.constant_tensor(input).is_some() {
                continue;
            }
            let rank = |value: ValueId| self.facts.get(value).and_then(|fact| fact.rank());
            let (Some(input_rank), Some(weight_rank)) = (rank(input), rank(weight)) else { continue };
            let is_set = |name: &str| node.int(name).unwrap_or(0) != 0;
            let axes = match node.op_type.as_str() {
                "Conv" if node.int("group").unwrap_or(1) == 1 => (1, 1),
                "Gemm" if !is_set("transA") => (1, usize::from(is_set("transB"))),
                "MatMul" if weight_rank == 2 && input_rank >= 2 => (input_rank - 1, 0),
                _ => continue,
            };
            if node.domain.is_empty() {
                let input = Axis { value: input, axis: axes.0 };
                found.push(Contraction { input, weight: Axis { value: weight, axis: axes.1 } });
            }
        }
        found
    }

    /// The contractions whose channels could be cut, each activation once.
    pub fn watched_inputs(&self) -> Vec<Axis> {
        let free: std::collections::BTreeSet<Axis> =
            self.groups.iter().flat_map(|group| group.axes.iter().copied()).collect();
        let mut inputs: Vec<Axis> = self.contractions().into_iter().map(|one| one.input).collect();
        inputs.retain(|input| free.contains(input));
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// The numbers of a weight.
    pub(crate) fn read(&self, value: ValueId, weights: &dyn TensorSource) -> Result<Option<Vec<f32>>, PruneError> {
        let Some(tensor) = self.model.graph.constant_tensor(value) else { return Ok(None) };
        let source = CuttingSource::new(weights, &self.cuts);
        let bytes = source.tensor_bytes(tensor)?;
        Ok(tensor.element_type().ok().and_then(|data_type| decode(&bytes, data_type)))
    }

    /// A number for each atom: within a group, less is less of a loss. Each group's mean is one.
    pub fn scores(&self, importance: &Importance<'_>, weights: &dyn TensorSource) -> Result<Vec<f64>, PruneError> {
        let mut scores = self.raw_scores(importance, weights)?;
        // Where the data say nothing of a group, its weights do.
        let is_silent = |scores: &[f64], atoms: &[usize]| {
            let total: f64 = atoms.iter().map(|atom| scores[*atom]).sum();
            !(total.is_finite() && total > 0.0)
        };
        if !matches!(importance, Importance::Magnitude)
            && self.groups.iter().any(|group| is_silent(&scores, &group.atoms))
        {
            let plain = self.raw_scores(&Importance::Magnitude, weights)?;
            for group in
                self.groups.iter().filter(|group| is_silent(&scores, &group.atoms)).cloned().collect::<Vec<_>>()
            {
                group.atoms.iter().for_each(|atom| scores[*atom] = plain[*atom]);
            }
        }
        for group in &self.groups {
            let mean = group.atoms.iter().map(|atom| scores[*atom]).sum::<f64>() / group.atoms.len() as f64;
            let mean = if mean > 0.0 && mean.is_finite() { mean } else { 1.0 };
            group.atoms.iter().for_each(|atom| scores[*atom] /= mean);
        }
        Ok(scores)
    }

    fn raw_scores(&self, importance: &Importance<'_>, weights: &dyn TensorSource) -> Result<Vec<f64>, PruneError> {
        let mut places: BTreeMap<Axis, Vec<(usize, usize)>> = BTreeMap::new();
        for (atom, known) in self.atoms.iter().enumerate() {
            for (axis, indices) in &known.places {
                places.entry(*axis).or_default().extend(indices.iter().map(|index| (*index, atom)));
            }
        }
        let contractions = self.contractions();
        let mut scores = vec![0.0; self.atoms.len()];
        for value in &self.weights {
            let (first, last) = (Axis { value: *value, axis: 0 }, Axis { value: *value, axis: usize::MAX });
            let mut axes = places.range(first..=last).peekable();
            if axes.peek().is_none() {
                continue;
            }
            let Some(mut numbers) = self.read(*value, weights)? else { continue };
            let Some(tensor) = self.model.graph.constant_tensor(*value) else { continue };
            let dims = sizes(&tensor.dims);
            match importance {
                Importance::Gradient(gradients) => {
                    let Some(gradient) = gradients.get(&self.model.graph.value(*value).name) else { continue };
                    numbers.iter_mut().zip(gradient.iter()).for_each(|(number, gradient)| *number *= gradient);
                }
                _ => numbers.iter_mut().for_each(|number| *number *= *number),
            }
            for (axis, atoms) in axes {
                let mut sums = axis_sums(&numbers, &dims, axis.axis);
                if let Importance::Activation(squares) = importance {
                    let met: Vec<&Vec<f64>> = contractions
                        .iter()
                        .filter(|one| one.weight == *axis)
                        .filter_map(|one| squares.get(&one.input))
                        .collect();
                    for (index, sum) in sums.iter_mut().enumerate() {
                        *sum *= met.iter().map(|squares| squares.get(index).copied().unwrap_or(0.0)).sum::<f64>();
                    }
                }
                for (index, atom) in atoms {
                    let sum = sums.get(*index).copied().unwrap_or(0.0);
                    scores[*atom] += if matches!(importance, Importance::Gradient(_)) { sum.abs() } else { sum };
                }
            }
        }
        Ok(scores)
    }
}
