//! How much of the memory is left, and the least that must go for it: the twin judges.

use onnxfit_base::Bytes;
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::TensorSource;
use onnxfit_prune::{Analysis, CuttingSource};

use super::{PruneMeasure, rewrite};
use crate::progress::{Progress, Stage};
use crate::samples::Samples;
use crate::session_graph::session_graph;
use crate::twin::Twin;
use crate::{Error, Request};

/// Halvings of the share that is looked for.
const N_STEPS: u64 = 9;
/// Trials of what may stay after all.
const N_TRIES_MAX: u64 = 72;
/// A share that takes all that may go.
const SHARE_MAX: f64 = 3.0;

pub(super) struct Judge<'a> {
    pub(super) request: &'a Request,
    pub(super) analysis: &'a Analysis,
    pub(super) weights: &'a dyn TensorSource,
    pub(super) samples: &'a Samples,
}

impl Judge<'_> {
    /// The least cut whose bytes are at most `share` of what they were, and whether there is one.
    /// `factors` is what each group loses, of the average.
    pub(super) fn least(
        &self,
        share: f64,
        what: PruneMeasure,
        factors: &[f64],
        scores: &[f64],
        progress: &dyn Progress,
    ) -> Result<(Vec<usize>, bool), Error> {
        let whole = self.bytes(&[], what)?;
        let removed = |shares: &[f64]| self.analysis.choose(scores, shares);
        let is_enough = |shares: &[f64]| -> Result<bool, Error> {
            Ok(self.bytes(&removed(shares), what)?.get() as f64 <= share * whole.get() as f64)
        };
        let shares_at = |base: f64| -> Vec<f64> { factors.iter().map(|factor| base * factor).collect() };
        let mut best = shares_at(SHARE_MAX);
        if !is_enough(&best)? {
            return Ok((removed(&best), false));
        }
        let (mut low, mut high) = (0.0, SHARE_MAX);
        for step in 0..N_STEPS {
            let what = "asking the twin how much must go".to_owned();
            progress.stage(&Stage::Counted { what, done: step, total: N_STEPS });
            let middle = (low + high) / 2.0;
            if is_enough(&shares_at(middle))? {
                (high, best) = (middle, shares_at(middle));
            } else {
                low = middle;
            }
        }
        if what == PruneMeasure::Arena {
            self.give_back(&mut best, factors, &is_enough, progress)?;
        }
        Ok((removed(&best), true))
    }

    /// Only the groups that are alive at the peak make it lower: all others get back what they lost,
    /// those that matter most first, halves of the rest together where there are many.
    fn give_back(
        &self,
        shares: &mut Vec<f64>,
        factors: &[f64],
        is_enough: &dyn Fn(&[f64]) -> Result<bool, Error>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|a, b| factors[*a].total_cmp(&factors[*b]).then(a.cmp(b)));
        let mut waiting = vec![order];
        let mut n_tries = 0;
        while let Some(groups) = waiting.pop() {
            if n_tries == N_TRIES_MAX {
                break;
            }
            let what = "giving back what does not lower the peak".to_owned();
            progress.stage(&Stage::Counted { what, done: n_tries, total: N_TRIES_MAX });
            n_tries += 1;
            let mut tried = shares.clone();
            groups.iter().for_each(|group| tried[*group] = 0.0);
            if is_enough(&tried)? {
                *shares = tried;
            } else if groups.len() > 1 {
                let (first, second) = groups.split_at(groups.len() / 2);
                waiting.push(second.to_vec());
                waiting.push(first.to_vec());
            }
        }
        Ok(())
    }

    fn bytes(&self, removed: &[usize], what: PruneMeasure) -> Result<Bytes, Error> {
        match what {
            PruneMeasure::Weights => Ok(self.analysis.weights_bytes(removed)),
            PruneMeasure::Arena => {
                let made = self.analysis.cut(removed).map_err(|error| rewrite(&error))?;
                let source = CuttingSource::new(self.weights, &made.cuts);
                self.arena_of(&made.model, &source)
                    .ok_or_else(|| Error::Predict("the twin cannot tell this model's arena".to_owned()))
            }
        }
    }

    /// The arena's peak, weights included, for the sizes of the request or of the data.
    pub(super) fn arena_of(&self, model: &GraphModel, weights: &dyn TensorSource) -> Option<Bytes> {
        let mut request = self.request.clone();
        if let Ok(tensors) = self.samples.get(0) {
            for (name, tensor) in tensors.iter() {
                let shape = tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
                request.shapes.entry(name.to_owned()).or_insert(shape);
            }
        }
        let graph = session_graph(model, weights, &request);
        let prediction = Twin::new(&graph.model, &request).ask().judgement.prediction;
        prediction.runs.iter().map(|run| run.peak_in_use_bytes).max().filter(|peak| *peak > Bytes::ZERO)
    }
}
