//! How far the answers move when one group alone is thinned, and what share each group is to lose
//! for it.

use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::{OptimizationLevel, Tensors};

use super::{Job, rewrite};
use crate::Error;
use crate::progress::Stage;

/// A model of more groups has neighbours thinned together.
const N_PARTS_MAX: usize = 48;
/// What a group loses in the trial.
const SHARE: f64 = 0.4;
/// The least and most that a group loses, of the average.
const FACTORS: (f64, f64) = (0.4, 1.6);

/// By group: the relative distance of the answers; not finite where it could not be told.
pub(super) fn measure(job: &Job<'_>, scores: &[f64]) -> Result<Vec<f64>, Error> {
    let analysis = job.analysis;
    let n_groups = analysis.groups.len();
    let values = analysis.proof_values();
    let whole = analysis.mask(&[]).map_err(|error| rewrite(&error))?;
    let path = job.runs.variant("whole.onnx", &whole, &job.base.file, &values)?;
    let n_samples = job.runs.n_samples().min(2);
    let expected = job.runs.answers(&path, OptimizationLevel::Basic, n_samples)?;
    let per_part = n_groups.div_ceil(N_PARTS_MAX).max(1);
    let mut found = vec![f64::NAN; n_groups];
    for (part, groups) in (0..n_groups).collect::<Vec<_>>().chunks(per_part).enumerate() {
        let what = "measuring how much each group matters".to_owned();
        job.progress.stage(&Stage::Counted { what, done: (part * per_part) as u64, total: n_groups as u64 });
        let shares: Vec<f64> = (0..n_groups).map(|group| if groups.contains(&group) { SHARE } else { 0.0 }).collect();
        let removed = analysis.choose(scores, &shares);
        let masked = analysis.mask(&removed).map_err(|error| rewrite(&error))?;
        let path = job.runs.variant("thinned.onnx", &masked, &job.base.file, &values)?;
        let answers = job.runs.answers(&path, OptimizationLevel::Basic, n_samples)?;
        let moved = distance(&expected, &answers);
        groups.iter().for_each(|group| found[*group] = moved);
    }
    Ok(found)
}

fn distance(expected: &[Tensors], found: &[Tensors]) -> f64 {
    let mut distances = Vec::new();
    for (before, after) in expected.iter().zip(found) {
        let outputs = compare(before, after, Exactness::Quantized).outputs;
        distances.extend(outputs.iter().map(|output| output.relative_l2).filter(|distance| distance.is_finite()));
    }
    if distances.is_empty() { f64::NAN } else { distances.iter().sum::<f64>() / distances.len() as f64 }
}

/// What each group loses, of the average: more where it matters less.
pub(super) fn factors(sensitivity: &[f64]) -> Vec<f64> {
    let mut known: Vec<f64> = sensitivity.iter().copied().filter(|moved| moved.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    let Some(middle) = known.get(known.len() / 2).copied().filter(|middle| *middle > 0.0) else {
        return vec![1.0; sensitivity.len()];
    };
    let factor = |moved: &f64| {
        if moved.is_finite() { (middle / moved.max(middle * 1e-3)).sqrt().clamp(FACTORS.0, FACTORS.1) } else { 1.0 }
    };
    sensitivity.iter().map(factor).collect()
}

#[cfg(test)]
mod tests {
    use super::factors;

    #[test]
    fn a_group_that_matters_more_loses_less() {
        assert_eq!(factors(&[1.0, 4.0, 100.0, 0.0, f64::NAN]), [2f64.min(1.6), 1.0, 0.4, 1.6, 1.0]);
        assert_eq!(factors(&[0.0, 0.0]), [1.0, 1.0]);
    }
}
