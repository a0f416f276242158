//! Dense linear algebra that pruning and quantization share.

/// The sum of products of two lists of the same length, in lanes: one sum alone waits for itself.
pub fn dot(left: &[f64], right: &[f64]) -> f64 {
    const N_LANES: usize = 8;
    let (mut lefts, mut rights) = (left.chunks_exact(N_LANES), right.chunks_exact(N_LANES));
    let mut lanes = [0.0; N_LANES];
    for (left, right) in (&mut lefts).zip(&mut rights) {
        for lane in 0..N_LANES {
            lanes[lane] += left[lane] * right[lane];
        }
    }
    let rest: f64 = lefts.remainder().iter().zip(rights.remainder()).map(|(left, right)| left * right).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Cholesky's lower factor of an `n` by `n` matrix, row-major and in place, on all cores; `None` for
/// one that is not positive definite. What lies above the diagonal is left as it was.
pub fn cholesky(matrix: &mut [f64], n: usize) -> Option<()> {
    for column in 0..n {
        let (done, rest) = matrix.split_at_mut(column * n + n);
        let row = &mut done[column * n..];
        let pivot = row[column] - dot(&row[..column], &row[..column]);
        if pivot <= 0.0 || !pivot.is_finite() {
            return None;
        }
        let pivot = pivot.sqrt();
        row[column] = pivot;
        let row = &row[..column];
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let n_rest = n - column - 1;
        let below = |rows: &mut [f64]| {
            for other in rows.chunks_mut(n) {
                other[column] = (other[column] - dot(&other[..column], row)) / pivot;
            }
        };
        // A thread costs more than a few short rows.
        if n_rest * column < 100_000 || n_threads == 1 {
            below(rest);
        } else {
            let share = n_rest.div_ceil(n_threads) * n;
            std::thread::scope(|scope| {
                for rows in rest.chunks_mut(share) {
                    scope.spawn(|| below(rows));
                }
            });
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_times_itself_is_the_matrix() {
        let n = 37;
        let lower: Vec<f64> = (0..n * n)
            .map(|at| match (at / n, at % n) {
                (row, column) if row == column => 2.0 + row as f64,
                (row, column) if column < row => ((row * 7 + column * 5) % 11) as f64 - 5.0,
                _ => 0.0,
            })
            .collect();
        let row = |at: usize| &lower[at * n..(at + 1) * n];
        let mut matrix: Vec<f64> = (0..n * n).map(|at| dot(row(at / n), row(at % n))).collect();
        assert_eq!(cholesky(&mut matrix, n), Some(()));
        for at in (0..n * n).filter(|at| at % n <= at / n) {
            assert!((matrix[at] - lower[at]).abs() < 1e-6, "{at}: {} {}", matrix[at], lower[at]);
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_none() {
        assert_eq!(cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2), None);
        assert_eq!(cholesky(&mut [f64::NAN], 1), None);
    }
}
