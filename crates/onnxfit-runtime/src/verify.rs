//! Compares a changed model's answers with the original's.
//!
//! Pure: two sets of tensors in, numbers and a verdict out. What counts as the same depends on the
//! kind of change: an exact one may differ only by the order of floating-point sums.

use serde::{Deserialize, Serialize};

use crate::{ElementType, Tensor, Tensors};

/// How much a change may move the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// The same bits.
    BitIdentical,
    /// The same arithmetic, perhaps summed in another order or cut into batches.
    Exact,
    /// Half precision inside.
    Half,
    /// Fewer bits per weight or activation.
    Quantized,
}

/// What is still taken for the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Greatest relative L2 distance: `|a - b| / |a|` over the whole output.
    pub relative_l2: f64,
    /// Greatest absolute error, as a share of the output's largest magnitude.
    pub share_of_largest: f64,
    /// Least share of rows whose largest element is at the same place; asked only of outputs that
    /// look like scores.
    pub top1_agreement: f64,
}

impl Exactness {
    /// The tolerance of this kind of change. For `Exact`, a float sum of thousands of terms in
    /// another order moves by about 1e-6; half precision keeps 11 bits, and errors grow over the
    /// layers of a deep model to about a percent.
    pub const fn tolerance(self) -> Tolerance {
        match self {
            Self::BitIdentical => Tolerance { relative_l2: 0.0, share_of_largest: 0.0, top1_agreement: 1.0 },
            Self::Exact => Tolerance { relative_l2: 1e-5, share_of_largest: 1e-4, top1_agreement: 0.999 },
            Self::Half => Tolerance { relative_l2: 2e-2, share_of_largest: 5e-2, top1_agreement: 0.99 },
            Self::Quantized => Tolerance { relative_l2: 0.15, share_of_largest: 0.5, top1_agreement: 0.9 },
        }
    }

    /// Two scores that are as close as this, as a share of the larger, are a tie: the change may
    /// move either by as much.
    const fn tie(self) -> f64 {
        match self {
            Self::Half => 1e-2,
            Self::Quantized => 5e-2,
            _ => 1e-3,
        }
    }
}

/// How one output compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputComparison {
    /// Output's name.
    pub name: String,
    /// Its shape in the original's answer.
    pub shape: Vec<u64>,
    /// Greatest `|a - b|` where both are finite.
    pub max_absolute_error: f64,
    /// Greatest `|a - b| / max(|a|, tiny)`, where tiny is a millionth of the largest magnitude, so
    /// that noise around zero does not fill the number.
    pub max_relative_error: f64,
    /// `|a - b| / |a|` as vectors.
    pub relative_l2: f64,
    /// Cosine of the angle between the two; 1 when both are zero.
    pub cosine: f64,
    /// Largest magnitude in the original's answer.
    pub largest: f64,
    /// Share of rows whose largest element is at the same place; `None` when the output does not
    /// look like scores.
    pub top1_agreement: Option<f64>,
    /// NaN elements of the original and of the changed.
    pub nan_counts: [u64; 2],
    /// Infinite elements of the original and of the changed.
    pub infinite_counts: [u64; 2],
    /// Whether every bit is the same.
    pub bit_identical: bool,
    /// Why it is not the same answer; `None` when it is.
    pub problem: Option<String>,
}

/// How all outputs compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The kind of change that was promised.
    pub exactness: Exactness,
    /// What was allowed.
    pub tolerance: Tolerance,
    /// Every output, in the original's order.
    pub outputs: Vec<OutputComparison>,
    /// Whether every output is the same answer.
    pub agrees: bool,
}

/// Compares the original's outputs with the changed model's.
pub fn compare(original: &Tensors, changed: &Tensors, exactness: Exactness) -> Comparison {
    let tolerance = exactness.tolerance();
    let mut outputs: Vec<OutputComparison> = original
        .iter()
        .map(|(name, before)| match changed.get(name) {
            Some(after) => compare_one(name, before, after, exactness),
            None => OutputComparison::broken(name, before.shape(), "is missing from the changed model".to_owned()),
        })
        .collect();
    for (name, tensor) in changed.iter().filter(|(name, _)| original.get(name).is_none()) {
        outputs.push(OutputComparison::broken(name, tensor.shape(), "is not an output of the original".to_owned()));
    }
    let agrees = outputs.iter().all(|output| output.problem.is_none());
    Comparison { exactness, tolerance, outputs, agrees }
}

impl OutputComparison {
    fn broken(name: &str, shape: &[u64], problem: String) -> Self {
        Self { problem: Some(problem), bit_identical: false, ..Self::equal(name, shape) }
    }

    fn equal(name: &str, shape: &[u64]) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            max_absolute_error: 0.0,
            max_relative_error: 0.0,
            relative_l2: 0.0,
            cosine: 1.0,
            largest: 0.0,
            top1_agreement: None,
            nan_counts: [0, 0],
            infinite_counts: [0, 0],
            bit_identical: true,
            problem: None,
        }
    }
}

fn compare_one(name: &str, before: &Tensor, after: &Tensor, exactness: Exactness) -> OutputComparison {
    if before.shape() != after.shape() {
        let problem = format!("has shape {:?} instead of {:?}", after.shape(), before.shape());
        return OutputComparison::broken(name, before.shape(), problem);
    }
    let same_kind = before.element_type() == after.element_type()
        || (before.element_type().is_float() && after.element_type().is_float());
    if !same_kind {
        let problem = format!("is {} instead of {}", after.element_type(), before.element_type());
        return OutputComparison::broken(name, before.shape(), problem);
    }
    let bit_identical = before == after;
    let (Some(left), Some(right)) = (before.values(), after.values()) else {
        // Strings and types without a number: the same or not.
        let equal = OutputComparison::equal(name, before.shape());
        let problem = (!bit_identical).then(|| "differs".to_owned());
        return OutputComparison { bit_identical, problem, ..equal };
    };
    let mut output = measure(name, before, &left, &right, exactness.tie());
    output.bit_identical = bit_identical;
    output.problem = problem(&output, before.element_type(), exactness);
    output
}

fn measure(name: &str, before: &Tensor, left: &[f64], right: &[f64], tie: f64) -> OutputComparison {
    let mut output = OutputComparison::equal(name, before.shape());
    let finite = |value: &&f64| value.is_finite();
    output.largest = left.iter().filter(finite).fold(0.0, |largest, value| value.abs().max(largest));
    for (side, values) in [left, right].into_iter().enumerate() {
        output.nan_counts[side] = values.iter().filter(|value| value.is_nan()).count() as u64;
        output.infinite_counts[side] = values.iter().filter(|value| value.is_infinite()).count() as u64;
    }
    let tiny = (output.largest * 1e-6).max(f64::MIN_POSITIVE);
    let (mut distance, mut dot, mut left_square, mut right_square) = (0.0, 0.0, 0.0, 0.0);
    for (a, b) in left.iter().zip(right) {
        if !a.is_finite() || !b.is_finite() {
            continue;
        }
        let error = (a - b).abs();
        output.max_absolute_error = output.max_absolute_error.max(error);
        output.max_relative_error = output.max_relative_error.max(error / a.abs().max(tiny));
        distance += error * error;
        dot += a * b;
        left_square += a * a;
        right_square += b * b;
    }
    output.relative_l2 = match (distance == 0.0, left_square == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::MAX,
        (false, false) => (distance / left_square).sqrt(),
    };
    output.cosine = match (left_square == 0.0, right_square == 0.0) {
        (true, true) => 1.0,
        (false, false) => (dot / (left_square.sqrt() * right_square.sqrt())).clamp(-1.0, 1.0),
        _ => 0.0,
    };
    output.top1_agreement = top1_agreement(before, left, right, tie);
    output
}

/// Scores: floats of two axes or more whose last has at least five classes, and hardly a row in
/// the original that is a tie.
fn top1_agreement(before: &Tensor, left: &[f64], right: &[f64], tie: f64) -> Option<f64> {
    const CLASSES_MIN: u64 = 5;
    let classes = *before.shape().last()?;
    if !before.element_type().is_float() || before.shape().len() < 2 || classes < CLASSES_MIN || left.is_empty() {
        return None;
    }
    let classes = usize::try_from(classes).ok()?;
    let rows = left.chunks_exact(classes).zip(right.chunks_exact(classes));
    // What moves an answer moves it everywhere: in a map of scores a row of next to nothing has no
    // winner either.
    let squares = left.iter().filter(|score| score.is_finite()).map(|score| score * score);
    let typical = (squares.sum::<f64>() / left.len() as f64).sqrt();
    let (mut decided, mut agreeing) = (0u64, 0u64);
    for (a, b) in rows {
        let (Some((best, second)), Some((other, _))) = (best_two(a), best_two(b)) else { continue };
        // A row without a clear winner proves nothing: rounding decides it.
        if a[best] - second <= f64::max(a[best].abs(), typical) * tie {
            continue;
        }
        decided += 1;
        agreeing += u64::from(best == other);
    }
    (decided > 0).then(|| agreeing as f64 / decided as f64)
}

/// Place of the largest element and the value of the second; `None` with a NaN among them.
fn best_two(row: &[f64]) -> Option<(usize, f64)> {
    let (mut best, mut second) = (0, f64::NEG_INFINITY);
    for (at, value) in row.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if at > 0 && *value > row[best] {
            second = row[best];
            best = at;
        } else if at > 0 && *value > second {
            second = *value;
        }
    }
    row.get(best).map(|_| (best, second))
}

fn problem(output: &OutputComparison, element_type: ElementType, exactness: Exactness) -> Option<String> {
    let tolerance = exactness.tolerance();
    if output.bit_identical {
        return None;
    }
    if exactness == Exactness::BitIdentical {
        return Some(format!("is not bit-identical: it differs by up to {:.3e}", output.max_absolute_error));
    }
    for (what, [before, after]) in [("NaN", output.nan_counts), ("infinite", output.infinite_counts)] {
        if before != after {
            return Some(format!("has {after} {what} elements instead of {before}"));
        }
    }
    // Whole numbers and truth values are places, counts and classes: an exact change leaves them.
    if !element_type.is_float() && exactness == Exactness::Exact {
        return Some(format!("differs in whole numbers, by up to {}", output.max_absolute_error));
    }
    if let Some(agreement) = output.top1_agreement
        && agreement < tolerance.top1_agreement
    {
        let [have, want] = [agreement, tolerance.top1_agreement].map(|share| share * 100.0);
        return Some(format!(
            "has its largest element elsewhere: top-1 agreement {have:.1} %, at least {want:.1} % wanted"
        ));
    }
    if output.relative_l2 > tolerance.relative_l2 {
        return Some(format!(
            "differs by {:.3e} (relative L2), at most {:.0e} allowed",
            output.relative_l2, tolerance.relative_l2
        ));
    }
    let most = tolerance.share_of_largest * output.largest;
    if output.max_absolute_error > most {
        return Some(format!("differs by up to {:.3e}, at most {most:.3e} allowed", output.max_absolute_error));
    }
    None
}

#[cfg(test)]
mod tests;
