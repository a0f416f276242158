//! Rounding that makes up for its own errors: GPTQ.
//!
//! Columns of a weight are rounded one after another, and what each loses is given to those that
//! are still to come, weighed by how inputs go together (X^T X over calibration data). After
//! Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
//! Transformers", 2022; there algorithm 1, here without its blocks, rows in parallel.

use onnxfit_base::cholesky;

use crate::affine::Params;

use super::pack::Grid;

/// X^T X of what a layer read: taken in row by row, so it does not grow with the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Hessian {
    n: usize,
    /// Row-major; the lower triangle counts.
    sums: Vec<f32>,
    n_rows: u64,
}

/// A share of the mean diagonal is added to it, so that inputs that never vary do no harm.
const DAMPING: f64 = 0.01;

impl Hessian {
    /// Of inputs with `n` numbers each.
    pub fn new(n: usize) -> Self {
        Self { n, sums: vec![0.0; n * n], n_rows: 0 }
    }

    /// Takes rows of inputs in, on all cores; numbers past the last whole row are ignored.
    pub fn add(&mut self, inputs: &[f32]) {
        let n = self.n;
        if n == 0 {
            return;
        }
        self.n_rows += (inputs.len() / n) as u64;
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        // Rows of the triangle, dealt out so that each thread gets long and short ones.
        let mut shares: Vec<Vec<(usize, &mut [f32])>> = (0..n_threads).map(|_| Vec::new()).collect();
        for (index, row) in self.sums.chunks_mut(n).enumerate() {
            shares[index % n_threads].push((index, row));
        }
        std::thread::scope(|scope| {
            for share in shares {
                scope.spawn(move || {
                    for (index, sums) in share {
                        for input in inputs.chunks_exact(n) {
                            let factor = input[index];
                            if factor != 0.0 && factor.is_finite() {
                                let pairs = sums[..=index].iter_mut().zip(input);
                                pairs.for_each(|(sum, other)| *sum += factor * other);
                            }
                        }
                    }
                });
            }
        });
    }

    /// How many numbers an input has.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many rows were taken in.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The upper triangle U of the inverse's Cholesky decomposition, U^T U = H^-1; `None` where even
    /// the damped matrix has none.
    pub(super) fn factor(&self) -> Option<Factor> {
        let n = self.n;
        let mut h: Vec<f64> = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..=row {
                let sum = f64::from(self.sums[row * n + column]);
                h[row * n + column] = sum;
                h[column * n + row] = sum;
            }
        }
        let mean = (0..n).map(|at| h[at * n + at]).sum::<f64>() / n.max(1) as f64;
        for at in 0..n {
            h[at * n + at] += (DAMPING * mean).max(1e-12);
        }
        // H = L L^T; H^-1 = L^-T L^-1, and U^T U of it is had by turning the order round: with P the
        // reversal, the Cholesky factor of P H P gives that of the inverse directly.
        let mut turned = vec![0.0f64; n * n];
        for row in 0..n {
            for column in 0..n {
                turned[row * n + column] = h[(n - 1 - row) * n + (n - 1 - column)];
            }
        }
        drop(h);
        cholesky(&mut turned, n)?;
        let inverse = invert_lower(&turned, n);
        let mut upper = vec![0.0f32; n * n];
        for row in 0..n {
            for column in 0..=row {
                // (P L P)^-1 turned back is upper triangular, and its transpose times itself is H^-1.
                upper[(n - 1 - row) * n + (n - 1 - column)] = inverse[row * n + column] as f32;
            }
        }
        Some(Factor { n, upper })
    }
}

/// U with U^T U = H^-1, row-major.
pub(super) struct Factor {
    n: usize,
    upper: Vec<f32>,
}

#[cfg(test)]
impl Factor {
    /// H^-1 v.
    pub(super) fn inverse_times(&self, vector: &[f64]) -> Vec<f64> {
        let (n, at) = (self.n, |row: usize, column: usize| f64::from(self.upper[row * self.n + column]));
        let half: Vec<f64> = (0..n).map(|row| (0..n).map(|column| at(row, column) * vector[column]).sum()).collect();
        (0..n).map(|column| (0..n).map(|row| at(row, column) * half[row]).sum()).collect()
    }
}

/// The inverse of a lower triangle.
fn invert_lower(lower: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0f64; n * n];
    for row in 0..n {
        let (done, rest) = inverse.split_at_mut(row * n);
        let target = &mut rest[..n];
        target[row] = 1.0;
        for column in 0..row {
            let factor = lower[row * n + column];
            let source = &done[column * n..column * n + column + 1];
            target.iter_mut().zip(source).for_each(|(sum, number)| *sum -= factor * number);
        }
        let pivot = lower[row * n + row];
        target[..=row].iter_mut().for_each(|number| *number /= pivot);
    }
    inverse
}

/// Rounds one row, passing each error on to the columns that follow.
pub(super) fn round_row(row: &mut [f32], factor: &Factor, grid: Grid) -> (Vec<u8>, Vec<Params>) {
    let n = factor.n;
    let mut integers = Vec::with_capacity(n);
    let mut all = Vec::new();
    for column in 0..n {
        if column % grid.block == 0 {
            all.push(grid.params(&row[column..n.min(column + grid.block)]));
        }
        let params = all[column / grid.block];
        let integer = params.quantize(row[column], grid.range());
        integers.push(integer as u8);
        let weights = &factor.upper[column * n..(column + 1) * n];
        let error = (row[column] - params.dequantize(integer)) / weights[column];
        let later = row[column + 1..].iter_mut().zip(&weights[column + 1..]);
        later.for_each(|(number, weight)| *number -= error * weight);
    }
    (integers, all)
}
