//! Undoing a broadcast: the gradient of a small input is the sum over everything it was spread to.
//!
//! Where shapes are known, named sizes included, the sum is over fixed axes or is left out; where
//! they are not, the axes are found when the graph runs.

use onnxfit_shape::Expr;

use crate::emit::int;
use crate::reverse::{Reverse, Unsupported};
use crate::tape::{Tape, Var};

/// What has to be summed to come from one shape to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// Nothing.
    None,
    /// These axes; the first `n_leading` of the shape are dropped, the others stay as ones.
    Axes { axes: Vec<i64>, n_leading: usize },
    /// It depends on sizes that are not known.
    Dynamic,
}

/// Compares a shape with the one it was broadcast to.
pub(crate) fn reduction(small: Option<&[Expr]>, large: Option<&[Expr]>) -> Reduction {
    let (Some(small), Some(large)) = (small, large) else { return Reduction::Dynamic };
    let Some(n_leading) = large.len().checked_sub(small.len()) else { return Reduction::Dynamic };
    let mut axes: Vec<i64> = (0..n_leading as i64).collect();
    for (axis, (from, to)) in small.iter().zip(&large[n_leading..]).enumerate() {
        if from == to {
            continue;
        }
        match from.as_constant() {
            Some(1) => axes.push((axis + n_leading) as i64),
            // Larger than one cannot have been spread.
            Some(_) => {}
            None => return Reduction::Dynamic,
        }
    }
    if axes.is_empty() { Reduction::None } else { Reduction::Axes { axes, n_leading } }
}

impl Tape {
    /// Sums `gradient`, which has the shape `large`, to the shape of `x`, which is `small`.
    pub(crate) fn sum_to(&mut self, gradient: Var, x: Var, small: Option<&[Expr]>, large: Option<&[Expr]>) -> Var {
        match reduction(small, large) {
            Reduction::None => gradient,
            Reduction::Axes { axes, n_leading } => {
                if small.is_some_and(<[Expr]>::is_empty) {
                    return self.sum_all(gradient);
                }
                let only_leading = axes.len() == n_leading;
                let sum = self.reduce_sum(gradient, &axes, !only_leading);
                if only_leading || n_leading == 0 {
                    return sum;
                }
                let leading: Vec<i64> = (0..n_leading as i64).collect();
                self.squeeze(sum, &leading)
            }
            Reduction::Dynamic => self.sum_to_dynamic(gradient, x),
        }
    }

    fn sum_to_dynamic(&mut self, gradient: Var, x: Var) -> Var {
        let (small, large) = (self.shape(x), self.shape(gradient));
        let (small_rank, large_rank) = (self.shape(small), self.shape(large));
        let n_leading = self.sub(large_rank, small_rank);
        let ones = self.filled(n_leading, onnxfit_onnx::DataType::Int64, 1.0);
        let padded = self.concat(&[ones, small], 0);
        let is_same = self.equal(padded, large);
        let is_spread = self.op("Not", &[is_same]);
        let places = self.op("NonZero", &[is_spread]);
        let axes = self.squeeze(places, &[0]);
        let attributes = vec![int("keepdims", 1), int("noop_with_empty_axes", 1)];
        let sum = self.op_with("ReduceSum", &[gradient, axes], attributes);
        self.reshape(sum, small)
    }
}

impl Reverse<'_> {
    /// Sums a value of the first output's shape to the shape of an input.
    pub(crate) fn unbroadcast(&mut self, gradient: Var, index: usize) -> Result<Var, Unsupported> {
        let x = self.x(index)?;
        let large = self.output_fact(0).and_then(|fact| fact.shape.as_deref());
        Ok(self.tape.sum_to(gradient, x, self.fact(index).and_then(|fact| fact.shape.as_deref()), large))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &str) -> Vec<Expr> {
        text.split_whitespace().map(|part| Expr::parse(part).expect("a size")).collect()
    }

    fn compare(small: &str, large: &str) -> Reduction {
        reduction(Some(&dims(small)), Some(&dims(large)))
    }

    #[test]
    fn equal_sizes_need_no_sum_even_if_nobody_knows_them() {
        assert_eq!(compare("N 3 S", "N 3 S"), Reduction::None);
    }

    #[test]
    fn a_bias_is_summed_over_what_stands_before_it() {
        assert_eq!(compare("8", "N S 8"), Reduction::Axes { axes: vec![0, 1], n_leading: 2 });
        assert_eq!(compare("8 1 1", "N 8 H W"), Reduction::Axes { axes: vec![0, 2, 3], n_leading: 1 });
    }

    #[test]
    fn sizes_that_may_differ_are_compared_when_the_graph_runs() {
        assert_eq!(compare("A 3", "B 3"), Reduction::Dynamic);
    }
}
