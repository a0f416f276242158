//! One dimension over many sizes: how much memory each size costs, and what it brings.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use onnxfit_base::Bytes;
use onnxfit_plan::Fit;
use onnxfit_report::Size;
use onnxfit_report::measure::{StepView, SweepView, knee};
use onnxfit_runtime::Meter;

use super::copy::RunnableCopy;
use super::reading::{Session, read};
use super::{MeasureOptions, tensors};
use crate::progress::Progress;
use crate::proof::free_memory;
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::Twin;
use crate::{Error, Model, library};

/// What to walk over.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The dimension.
    pub dim: String,
    /// From the smallest to the largest size.
    pub sizes: RangeInclusive<i64>,
    /// Try sizes past the predicted limit too.
    pub prove: bool,
}

/// Measures doubling sizes of a dimension, then looks for the largest that runs.
///
/// A size that is predicted not to fit is not tried unless it is to be proved. Without a target,
/// what fits is what half of this machine's free memory holds, as far as the CPU provider goes.
pub fn sweep(
    model: &Model,
    request: &Request,
    options: &MeasureOptions,
    over: &SweepOptions,
    progress: &dyn Progress,
) -> Result<SweepView, Error> {
    let (first, last) = (*over.sizes.start(), *over.sizes.end());
    if first < 1 || last < first {
        let message = format!("`{}={first}..{last}` holds no size", over.dim);
        return Err(Error::Binding(message, Some("write it as `--sweep batch=1..256`".to_owned())));
    }
    let library = library::ensure(options.offline, progress)?;
    let copy = RunnableCopy::make(model, options.random_weights, progress)?;
    let graph = session_graph(copy.model().graph(), copy.model().file().weights(), request);
    let twin = Twin::new(&graph.model, request);
    let known = twin.ask().dims;
    if !known.contains_key(&over.dim) {
        let names: Vec<String> = known.keys().map(|name| format!("`{name}`")).collect();
        let hint = format!("its dimensions are {}", names.join(", "));
        return Err(Error::Binding(format!("the model has no open dimension `{}`", over.dim), Some(hint)));
    }
    let own_memory = (request.provider == Provider::Cpu).then(|| Bytes(free_memory().get() / 2));
    let mut walk = Walk {
        model,
        copy: copy.path().to_owned(),
        request,
        options,
        over,
        library: &library,
        budget: request.budget().or(own_memory),
        twin,
        dims: known,
        ort_version: String::new(),
        steps: BTreeMap::new(),
    };
    let (mut runs, mut fails) = (None, None);
    let mut size = first;
    loop {
        if walk.runs(size, progress)? {
            runs = Some(size);
        } else {
            fails = Some(size);
            break;
        }
        if size == last {
            break;
        }
        size = size.saturating_mul(2).min(last);
    }
    // Between a size that runs and one that does not lies the largest that does.
    if let (Some(mut low), Some(mut high)) = (runs, fails) {
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let fits = if over.prove { walk.runs(middle, progress)? } else { walk.fits(middle) };
            if fits { low = middle } else { high = middle }
        }
        walk.runs(low, progress)?;
    }
    let steps: Vec<StepView> = walk.steps.into_values().collect();
    Ok(SweepView {
        schema: "onnxfit.sweep/1",
        model: model.name(),
        provider: request.provider.as_str().to_owned(),
        ort_version: walk.ort_version,
        dim: over.dim.clone(),
        budget_bytes: walk.budget.map(Size),
        largest: steps.iter().filter(|step| step.throughput.is_some()).map(|step| step.size).max(),
        knee: knee(&steps),
        steps,
    })
}

struct Walk<'a> {
    model: &'a Model,
    copy: PathBuf,
    request: &'a Request,
    options: &'a MeasureOptions,
    over: &'a SweepOptions,
    library: &'a Path,
    budget: Option<Bytes>,
    twin: Twin<'a>,
    dims: BTreeMap<String, i64>,
    ort_version: String,
    steps: BTreeMap<i64, StepView>,
}

impl Walk<'_> {
    fn dims(&self, size: i64) -> BTreeMap<String, i64> {
        let mut dims = self.dims.clone();
        dims.insert(self.over.dim.clone(), size);
        dims
    }

    /// Whether a size fits, and its step with the twin's figures in it.
    fn predicted(&self, size: i64) -> (bool, StepView) {
        let runs = vec![self.dims(size); self.options.runs];
        let judgement = self.twin.ask_sequence(&runs, self.twin.request_levers(), self.budget);
        let prediction = &judgement.prediction;
        let peaks = prediction.runs.iter().map(|run| run.peak_in_use_bytes);
        let held = prediction.runs.iter().map(|run| run.total_allocated_bytes);
        let fits = judgement.fit != Fit::DoesNotFit;
        let step = StepView {
            size,
            predicted_held_bytes: held.max().unwrap_or(prediction.load.total_allocated_bytes).into(),
            measured_held_bytes: None,
            predicted_peak_bytes: peaks
                .max()
                .unwrap_or(prediction.load.max_in_use_bytes)
                .max(prediction.load.max_in_use_bytes)
                .into(),
            measured_peak_bytes: None,
            latency_seconds: None,
            throughput: None,
            refused: (!fits).then(|| "predicted not to fit".to_owned()),
        };
        (fits, step)
    }

    fn fits(&self, size: i64) -> bool {
        self.predicted(size).0
    }

    /// Measures a size and says whether it ran; one that is predicted not to fit counts as one
    /// that does not run, unless that is to be proved.
    fn runs(&mut self, size: i64, progress: &dyn Progress) -> Result<bool, Error> {
        if let Some(step) = self.steps.get(&size) {
            return Ok(step.throughput.is_some());
        }
        let (fits, mut step) = self.predicted(size);
        if fits || self.over.prove {
            progress.doing(&format!("running {}={size}", self.over.dim));
            self.measure(size, &mut step)?;
        }
        let ran = step.throughput.is_some();
        self.steps.insert(size, step);
        Ok(ran)
    }

    fn measure(&mut self, size: i64, step: &mut StepView) -> Result<(), Error> {
        let tensors = tensors(self.model, &self.dims(size), self.request, &self.options.inputs)?;
        let session = Session {
            worker: &self.options.worker,
            library: self.library,
            model: &self.copy,
            request: self.request,
            n_runs: self.options.runs,
        };
        let reading = read(&session, Meter::Arena, false, &tensors)?;
        if !reading.version.is_empty() {
            self.ort_version.clone_from(&reading.version);
        }
        if let Some(failure) = &reading.failure {
            let before =
                step.refused.take().map_or_else(|| "predicted to fit; ".to_owned(), |text| format!("{text}; "));
            step.refused = Some(format!("{before}really: {failure}"));
            return Ok(());
        }
        let loaded = reading.load.as_ref();
        let held = reading.runs.iter().map(|run| run.with_outputs.total_allocated);
        let peak = reading.runs.iter().map(|run| run.peak);
        step.measured_held_bytes = held.chain(loaded.map(|stats| stats.total_allocated)).max().map(Size);
        step.measured_peak_bytes = peak.chain(loaded.map(|stats| stats.max_in_use)).max().map(Size);
        step.refused = step.refused.take().map(|text| format!("{text}, but ran"));
        if let Some(seconds) = steady(&reading.run_seconds) {
            step.latency_seconds = Some(seconds);
            step.throughput = Some(size as f64 / seconds.max(1e-9));
        }
        Ok(())
    }
}

/// The median of the runs after the first, which grows the arena; of the only one if there is one.
fn steady(seconds: &[f64]) -> Option<f64> {
    let mut later = seconds.get(1..).filter(|later| !later.is_empty()).unwrap_or(seconds).to_vec();
    later.sort_by(f64::total_cmp);
    later.get(later.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_does_not_count_where_there_are_more() {
        assert_eq!(steady(&[9.0, 1.0, 3.0, 2.0]), Some(2.0));
        assert_eq!(steady(&[9.0]), Some(9.0));
        assert_eq!(steady(&[]), None);
    }
}
