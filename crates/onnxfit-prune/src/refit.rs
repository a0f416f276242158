//! The closed-form refit: what is left of the channels takes over what the lost ones did.
//!
//! The channels that flow into a weight depend on each other. From their second moments over data,
//! ridge regression finds how each lost channel is best made of those that are left; the weight
//! takes that up. It is the least-squares solution of the layer for one by one kernels and
//! matrices, and for larger kernels that of each of their places.

use std::collections::BTreeSet;

use onnxfit_base::{cholesky, dot};
use onnxfit_graph::Patch;
use onnxfit_onnx::TensorSource;

use crate::analysis::Analysis;
use crate::cut::Pruned;
use crate::elements::Axis;
use crate::error::PruneError;
use crate::importance::Contraction;
use crate::numbers::{encode, sizes};

/// Of the mean of the diagonal: enough to invert what is nearly singular.
const RIDGE: f64 = 1e-3;
/// Wider inputs than this are left as they are.
const N_CHANNELS_MAX: usize = 4096;

/// Rows that are multiplied at once, in single precision.
const N_ROWS: usize = 32;

/// Sums of products of all pairs of channels; or of each channel with itself alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    n_channels: usize,
    /// Row by row, up to the diagonal; or the diagonal alone.
    sums: Vec<f64>,
    has_pairs: bool,
    waiting: Vec<f32>,
    /// How many rows went in.
    pub n_rows: u64,
}

impl Moments {
    /// No rows yet. Of too many channels, and where `has_pairs` is false, only squares are kept.
    pub fn new(n_channels: usize, has_pairs: bool) -> Self {
        let has_pairs = has_pairs && n_channels <= N_CHANNELS_MAX;
        let n_sums = if has_pairs { n_channels * n_channels } else { n_channels };
        Self { n_channels, sums: vec![0.0; n_sums], has_pairs, waiting: Vec::new(), n_rows: 0 }
    }

    /// Takes a row in: one number for each channel.
    pub fn add(&mut self, row: &[f32]) {
        if row.len() != self.n_channels || row.iter().any(|number| !number.is_finite()) {
            return;
        }
        self.n_rows += 1;
        if !self.has_pairs {
            self.sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += f64::from(*number) * f64::from(*number));
            return;
        }
        self.waiting.extend_from_slice(row);
        if self.waiting.len() >= N_ROWS * self.n_channels {
            self.finish();
        }
    }

    /// Takes in what waits.
    pub fn finish(&mut self) {
        let n = self.n_channels;
        let waiting = std::mem::take(&mut self.waiting);
        let mut products = vec![0f32; n];
        for channel in (0..n).filter(|_| !waiting.is_empty()) {
            let products = &mut products[..=channel];
            products.fill(0.0);
            for row in waiting.chunks_exact(n) {
                let own = row[channel];
                if own != 0.0 {
                    products.iter_mut().zip(row).for_each(|(product, other)| *product += own * other);
                }
            }
            let sums = &mut self.sums[channel * n..=channel * n + channel];
            sums.iter_mut().zip(products.iter()).for_each(|(sum, product)| *sum += f64::from(*product));
        }
    }

    /// Sums of squares by channel.
    pub fn squares(&self) -> Vec<f64> {
        let stride = if self.has_pairs { self.n_channels + 1 } else { 1 };
        (0..self.n_channels).map(|channel| self.sums[channel * stride]).collect()
    }

    /// How each channel is made of those that are left: row by channel, column by what is left.
    /// `None` if that has no solution.
    pub fn reconstruction(&self, kept: &[usize]) -> Option<Vec<f64>> {
        if !self.has_pairs {
            return None;
        }
        let (n, k) = (self.n_channels, kept.len());
        let at = |row: usize, column: usize| self.sums[row.max(column) * n + row.min(column)];
        let mean = (0..n).map(|channel| at(channel, channel)).sum::<f64>() / n.max(1) as f64;
        let ridge = (RIDGE * mean).max(f64::MIN_POSITIVE);
        // Cholesky's factor of what the kept channels share.
        let mut factor = vec![0.0; k * k];
        for row in 0..k {
            for column in 0..=row {
                factor[row * k + column] = at(kept[row], kept[column]);
            }
            factor[row * k + row] += ridge;
        }
        cholesky(&mut factor, k)?;
        // The same by columns, so that the way back reads it in a row.
        let mut turned = vec![0.0; k * k];
        for row in 0..k {
            for column in 0..=row {
                turned[column * k + row] = factor[row * k + column];
            }
        }
        let solve = |channel: usize| {
            let mut solution = vec![0.0; k];
            for row in 0..k {
                let before = dot(&factor[row * k..row * k + row], &solution[..row]);
                solution[row] = (at(kept[row], channel) - before) / factor[row * k + row];
            }
            for row in (0..k).rev() {
                let below = &turned[row * k + row + 1..(row + 1) * k];
                solution[row] = (solution[row] - dot(below, &solution[row + 1..])) / turned[row * k + row];
            }
            solution.iter().all(|number| number.is_finite()).then_some(solution)
        };
        let is_kept: BTreeSet<usize> = kept.iter().copied().collect();
        let lost: Vec<usize> = (0..n).filter(|channel| !is_kept.contains(channel)).collect();
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let solved: Option<Vec<Vec<f64>>> = std::thread::scope(|scope| {
            let shares = lost.chunks(lost.len().div_ceil(n_threads).max(1));
            let threads: Vec<_> =
                shares.map(|share| scope.spawn(|| share.iter().map(|lost| solve(*lost)).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| vec![None])).collect()
        });
        let mut result = vec![0.0; n * k];
        for (position, channel) in kept.iter().enumerate() {
            result[channel * k + position] = 1.0;
        }
        for (channel, solution) in lost.iter().zip(solved?) {
            result[channel * k..(channel + 1) * k].copy_from_slice(&solution);
        }
        Some(result)
    }
}

impl Analysis {
    /// Lets a weight of the pruned model do what the whole one did, as well as the channels that are
    /// left can. Says whether there was anything to do.
    pub fn refit(
        &self,
        pruned: &mut Pruned,
        removed: &[usize],
        contraction: Contraction,
        moments: &Moments,
        weights: &dyn TensorSource,
    ) -> Result<bool, PruneError> {
        let graph = &self.model.graph;
        let value = contraction.weight.value;
        let Some(kept) = self.kept_indices(contraction.weight, removed) else { return Ok(false) };
        let name = graph.value(value).name.clone();
        // A weight that several read cannot suit one.
        if graph.value(value).uses.len() != 1
            || graph.value(value).tensor().is_none()
            || moments.n_rows < 2
            || !moments.has_pairs
        {
            return Ok(false);
        }
        let (Some(tensor), Some(numbers)) = (graph.constant_tensor(value), self.read(value, weights)?) else {
            return Ok(false);
        };
        let mut dims = sizes(&tensor.dims);
        if dims.get(contraction.weight.axis) != Some(&moments.n_channels) {
            return Ok(false);
        }
        let made = moments.reconstruction(&kept).ok_or(PruneError::NoSolution(name.clone()))?;
        let mut numbers = mix(&numbers, &dims, contraction.weight.axis, &made, kept.len());
        dims[contraction.weight.axis] = kept.len();
        for axis in (0..dims.len()).filter(|axis| *axis != contraction.weight.axis) {
            if let Some(kept) = self.kept_indices(Axis { value, axis }, removed) {
                numbers = select(&numbers, &dims, axis, &kept);
                dims[axis] = kept.len();
            }
        }
        let Some(id) = pruned.model.graph.value_named(&name) else { return Ok(false) };
        let Some(old) = pruned.model.graph.value(id).tensor() else { return Ok(false) };
        let Some(bytes) = old.element_type().ok().and_then(|data_type| encode(&numbers, data_type)) else {
            return Ok(false);
        };
        let mut new = (**old).clone();
        pruned.cuts.replace(&mut new, bytes);
        let mut patch = Patch::new(&pruned.model.graph, "refit");
        patch.set_initializer(id, new);
        pruned.model.graph.apply(&patch)?;
        Ok(true)
    }

    /// What is left of an axis; `None` if all of it is.
    pub fn kept_indices(&self, axis: Axis, removed: &[usize]) -> Option<Vec<usize>> {
        let gone: BTreeSet<usize> = removed
            .iter()
            .flat_map(|atom| &self.atoms[*atom].places)
            .filter(|(place, _)| *place == axis)
            .flat_map(|(_, indices)| indices.iter().copied())
            .collect();
        if gone.is_empty() {
            return None;
        }
        Some((0..self.elements.size(axis)?).filter(|index| !gone.contains(index)).collect())
    }
}

/// Each index of an axis made of others: `made` has a row for each old and a column for each new.
fn mix(numbers: &[f32], dims: &[usize], axis: usize, made: &[f64], n_new: usize) -> Vec<f32> {
    let row: usize = dims[axis + 1..].iter().product();
    let n_outer: usize = dims[..axis].iter().product();
    let n_old = dims[axis];
    let mut result = Vec::with_capacity(n_outer * n_new * row);
    let mut block = vec![0.0f64; n_new * row];
    for outer in 0..n_outer {
        block.fill(0.0);
        for old in 0..n_old {
            let source = &numbers[(outer * n_old + old) * row..][..row];
            for new in 0..n_new {
                let factor = made[old * n_new + new];
                if factor != 0.0 {
                    let target = &mut block[new * row..][..row];
                    target.iter_mut().zip(source).for_each(|(sum, number)| *sum += factor * f64::from(*number));
                }
            }
        }
        result.extend(block.iter().map(|number| *number as f32));
    }
    result
}

fn select(numbers: &[f32], dims: &[usize], axis: usize, kept: &[usize]) -> Vec<f32> {
    let row: usize = dims[axis + 1..].iter().product();
    let n_outer: usize = dims[..axis].iter().product();
    let mut left = Vec::with_capacity(n_outer * kept.len() * row);
    for outer in 0..n_outer {
        for index in kept {
            left.extend_from_slice(&numbers[(outer * dims[axis] + index) * row..][..row]);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_is_a_sum_of_others_is_made_of_them() {
        let mut moments = Moments::new(3, true);
        for step in 0..200u32 {
            let (a, b) = ((step * 7 % 11) as f32 - 5.0, (step * 5 % 13) as f32 - 6.0);
            moments.add(&[a, b, 2.0 * a - b]);
        }
        moments.finish();
        let made = moments.reconstruction(&[0, 1]).unwrap();
        assert_eq!(made[..4], [1.0, 0.0, 0.0, 1.0]);
        assert!((made[4] - 2.0).abs() < 0.01 && (made[5] + 1.0).abs() < 0.01, "{made:?}");
        // A row of a weight that read all three reads the two as well.
        let mixed = mix(&[1.0, 1.0, 1.0], &[1, 3], 1, &made, 2);
        assert!((mixed[0] - 3.0).abs() < 0.02 && mixed[1].abs() < 0.02, "{mixed:?}");
    }

    #[test]
    fn channels_that_were_always_zero_have_a_solution_too() {
        let mut moments = Moments::new(2, true);
        moments.add(&[0.0, 0.0]);
        moments.finish();
        assert!(moments.reconstruction(&[0]).is_some());
    }
}
