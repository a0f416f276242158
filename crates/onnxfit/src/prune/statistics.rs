//! What flows into each weight while the model runs: sums of products of its channels.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_prune::{Axis, Moments};
use onnxfit_runtime::Tensor;

use super::{Job, PruneRecovery};
use crate::Error;
use crate::convert::ranges::float_values;
use crate::probe::{Probe, groups};
use crate::progress::Stage;

/// What is taken at once.
const GROUP_BYTES_MAX: u64 = 256 << 20;
/// Rows of one activation that are taken in, over all samples: places, tokens.
const N_ROWS_MAX: usize = 6144;
/// Products of pairs of channels that are summed for one activation.
const N_PRODUCTS_MAX: usize = 20_000_000_000;

/// By activation and axis.
pub(super) fn moments(job: &Job<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<BTreeMap<Axis, Moments>, Error> {
    let graph = &job.analysis.model.graph;
    let samples = job.runs.samples;
    let bytes: BTreeMap<String, u64> = float_values(&job.base.model, &samples.get(0)?).into_iter().collect();
    let mut watched: BTreeMap<&str, Vec<Axis>> = BTreeMap::new();
    for axis in job.analysis.watched_inputs() {
        // Values of the unshared model have the names of the base model.
        let name = graph.value(axis.value).name.as_str();
        if bytes.contains_key(name) {
            watched.entry(name).or_default().push(axis);
        }
    }
    let values: Vec<(&str, u64)> = watched.keys().map(|name| (*name, bytes[*name])).collect();
    let mut found: BTreeMap<Axis, Moments> = BTreeMap::new();
    let mut client = job.runs.client()?;
    let n_samples = samples.len().max(1);
    let has_pairs = job.options.recovery != PruneRecovery::Off;
    let mut n_lost = 0;
    for group in groups(&values, GROUP_BYTES_MAX) {
        let what = "watching what flows into each weight".to_owned();
        job.progress.stage(&Stage::Counted { what, done: found.len() as u64, total: values.len() as u64 });
        if job.base.probe.open(&mut client, job.runs.library, &group).is_err() {
            n_lost += group.len();
            client = job.runs.client()?;
            continue;
        }
        for index in 0..samples.len() {
            for (name, tensor) in Probe::run(&mut client, &samples.get(index)?)?.iter() {
                for axis in watched.get(name).into_iter().flatten() {
                    take(tensor, *axis, n_samples, has_pairs, &mut found);
                }
            }
        }
    }
    found.values_mut().for_each(Moments::finish);
    if n_lost > 0 {
        diagnostics.push(Diagnostic::note("not-watched", format!("{n_lost} activations could not be looked at")));
    }
    Ok(found)
}

/// Takes evenly spread rows of an activation in: one number for each index of the axis.
fn take(tensor: &Tensor, axis: Axis, n_samples: usize, has_pairs: bool, found: &mut BTreeMap<Axis, Moments>) {
    let Some(values) = tensor.values() else { return };
    let dims: Vec<usize> = tensor.shape().iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let Some(n) = dims.get(axis.axis).copied().filter(|n| *n > 0) else { return };
    let moments = found.entry(axis).or_insert_with(|| Moments::new(n, has_pairs));
    let n_rows_max = (N_PRODUCTS_MAX / (n * n)).min(N_ROWS_MAX) / n_samples;
    let inner: usize = dims[axis.axis + 1..].iter().product();
    let n_rows = values.len() / n;
    let n_taken = n_rows.min(n_rows_max.max(16));
    let mut row = vec![0f32; n];
    for taken in 0..n_taken {
        let at = taken * n_rows / n_taken;
        let (outer, place) = (at / inner, at % inner);
        for (index, number) in row.iter_mut().enumerate() {
            *number = values[(outer * n + index) * inner + place] as f32;
        }
        moments.add(&row);
    }
}
