//! Zeros inside weights whose shapes stay: unstructured, and two of four.
//!
//! Only on request: ONNX Runtime's CUDA provider computes with the zeros as with any number, and
//! neither memory nor time is saved by them.

use onnxfit_graph::Patch;
use onnxfit_onnx::TensorSource;

use crate::analysis::Analysis;
use crate::cut::Pruned;
use crate::error::PruneError;
use crate::numbers::{encode, sizes};

/// Which weights become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sparsity {
    /// The smallest ones of each matrix or kernel, this share of them.
    Unstructured(f64),
    /// The two smaller ones of every four along what is summed over.
    TwoOfFour,
}

impl Analysis {
    /// The model with zeros in its matrices and kernels; says how many weights of how many are zero.
    pub fn sparsify(&self, sparsity: Sparsity, weights: &dyn TensorSource) -> Result<(Pruned, u64, u64), PruneError> {
        let graph = &self.model.graph;
        let mut pruned = Pruned { model: self.model.clone(), cuts: self.cuts.clone() };
        let mut patch = Patch::new(graph, "sparsify");
        let (mut n_zero, mut n_all) = (0, 0);
        let mut contractions = self.contractions();
        contractions.sort_by_key(|one| one.weight);
        contractions.dedup_by_key(|one| one.weight.value);
        for one in contractions {
            let Some(tensor) = graph.value(one.weight.value).tensor() else { continue };
            let Some(mut numbers) = self.read(one.weight.value, weights)? else { continue };
            let dims = sizes(&tensor.dims);
            match sparsity {
                Sparsity::Unstructured(share) => smallest(&mut numbers, share),
                Sparsity::TwoOfFour => two_of_four(&mut numbers, &dims, one.weight.axis),
            }
            n_all += numbers.len() as u64;
            n_zero += numbers.iter().filter(|number| **number == 0.0).count() as u64;
            let Some(bytes) = tensor.element_type().ok().and_then(|data_type| encode(&numbers, data_type)) else {
                continue;
            };
            let mut new = (**tensor).clone();
            pruned.cuts.replace(&mut new, bytes);
            patch.set_initializer(one.weight.value, new);
        }
        pruned.model.graph.apply(&patch)?;
        Ok((pruned, n_zero, n_all))
    }
}

fn smallest(numbers: &mut [f32], share: f64) {
    let n_zero = (numbers.len() as f64 * share.clamp(0.0, 1.0)).round() as usize;
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    if n_zero == 0 || numbers.is_empty() {
        return;
    }
    let last = (n_zero - 1).min(order.len() - 1);
    order.select_nth_unstable_by(last, |a, b| numbers[*a].abs().total_cmp(&numbers[*b].abs()).then(a.cmp(b)));
    order[..=last].iter().for_each(|index| numbers[*index] = 0.0);
}

fn two_of_four(numbers: &mut [f32], dims: &[usize], axis: usize) {
    let row: usize = dims[axis + 1..].iter().product();
    let n = dims[axis];
    let n_outer: usize = dims[..axis].iter().product();
    for outer in 0..n_outer {
        for first in (0..n / 4 * 4).step_by(4) {
            for inner in 0..row {
                let at = |index: usize| (outer * n + first + index) * row + inner;
                let mut order = [0, 1, 2, 3];
                order.sort_by(|a, b| numbers[at(*a)].abs().total_cmp(&numbers[at(*b)].abs()));
                numbers[at(order[0])] = 0.0;
                numbers[at(order[1])] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_half_of_every_four_goes() {
        let mut numbers = [1.0, -5.0, 3.0, 0.5, 9.0, 8.0, 7.0, -6.0, 2.0];
        two_of_four(&mut numbers, &[1, 9], 1);
        assert_eq!(numbers, [0.0, -5.0, 3.0, 0.0, 9.0, 8.0, 0.0, 0.0, 2.0]);
        smallest(&mut numbers, 0.7);
        assert_eq!(numbers, [0.0, -5.0, 0.0, 0.0, 9.0, 8.0, 0.0, 0.0, 0.0]);
    }
}
