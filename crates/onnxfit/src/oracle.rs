//! The memory twin as the judge of the search.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use onnxfit_base::Bytes;
use onnxfit_hardware::Gpu;
use onnxfit_plan::{Band, Fit, Judged, Oracle, Point, Precision};

use crate::options;
use crate::recommend::work::Work;
use crate::twin::{Judgement, N_RUNS, Twin, Unhindered};

/// A batch that may be cut.
#[derive(Clone, Debug)]
pub(crate) struct BatchRequest {
    /// The dimension's name.
    pub(crate) dim: String,
    /// The rows that are asked for.
    pub(crate) rows: u64,
}

/// Judges points by replaying them.
pub(crate) struct TwinOracle<'a> {
    pub(crate) original: Twin<'a>,
    pub(crate) half: Option<Twin<'a>>,
    pub(crate) bfloat16: Option<Twin<'a>>,
    /// The card, to estimate how long a run takes on it.
    pub(crate) gpu: Option<&'static Gpu>,
    /// Makes the model with integer weights, when it is first asked for.
    pub(crate) round: &'a dyn Fn(Precision) -> Option<Twin<'a>>,
    pub(crate) rounded: [OnceCell<Option<Twin<'a>>>; 2],
    pub(crate) dims: BTreeMap<String, i64>,
    pub(crate) batch: Option<BatchRequest>,
    pub(crate) budget: Bytes,
    /// Whether the arena may be told the sizes of its regions.
    pub(crate) tells_arena: bool,
    /// Called with the number of points judged so far.
    pub(crate) on_judged: &'a dyn Fn(usize),
    pub(crate) n_judged: usize,
    /// What was found at one budget and holds for others.
    pub(crate) known: Known,
}

/// What the search of one budget leaves for the next.
#[derive(Default)]
pub(crate) struct Known {
    /// Of every point, what it takes on a device without bounds.
    free: BTreeMap<Point, Unhindered>,
    /// The points that did not fit, and in how much: they do not fit in less.
    failed: BTreeMap<Point, (Bytes, Judged)>,
}

impl<'a> TwinOracle<'a> {
    /// The model that computes with these numbers; `None` if there is no such model.
    pub(crate) fn twin(&self, precision: Precision) -> Option<&Twin<'a>> {
        let rounded = |at: usize| self.rounded[at].get_or_init(|| (self.round)(precision)).as_ref();
        match precision {
            Precision::Original => Some(&self.original),
            Precision::Half => self.half.as_ref(),
            Precision::Bfloat16 => self.bfloat16.as_ref(),
            Precision::Weights8 => rounded(0),
            Precision::Weights4 => rounded(1),
        }
    }

    /// Whether the model with these numbers was asked for and could not be made.
    pub(crate) fn is_missing(&self, precision: Precision) -> bool {
        let at = match precision {
            Precision::Weights8 => 0,
            Precision::Weights4 => 1,
            _ => return false,
        };
        self.rounded[at].get().is_some_and(Option::is_none)
    }

    /// The runs of one request at this point: a few equal pieces, the smaller last one, and the
    /// first piece of the next request.
    fn runs(&self, point: &Point) -> Vec<BTreeMap<String, i64>> {
        let (Some(batch), Some(rows)) = (&self.batch, point.micro_batch) else {
            return vec![self.dims.clone(); N_RUNS];
        };
        let with_rows = |rows: u64| {
            let mut dims = self.dims.clone();
            dims.insert(batch.dim.clone(), rows.try_into().unwrap_or(i64::MAX));
            dims
        };
        let n_full = usize::try_from(batch.rows / rows).unwrap_or(usize::MAX).min(N_RUNS);
        let mut runs = vec![with_rows(rows); n_full.max(1)];
        if batch.rows % rows != 0 {
            runs.extend([with_rows(batch.rows % rows), with_rows(rows)]);
        }
        while runs.len() < N_RUNS {
            runs.push(with_rows(rows));
        }
        runs
    }

    /// The replay of a point; `None` if there is no such model.
    pub(crate) fn ask(&self, point: &Point) -> Option<Judgement> {
        Some(self.twin(point.precision)?.ask_sequence(&self.runs(point), point.levers, Some(self.budget)))
    }
}

impl Oracle for TwinOracle<'_> {
    type Error = Infallible;

    fn judge(&mut self, point: Point) -> Result<Judged, Infallible> {
        self.n_judged += 1;
        (self.on_judged)(self.n_judged);
        if let Some((_, judged)) = self.known.failed.get(&point).filter(|(budget, _)| self.budget <= *budget) {
            return Ok(*judged);
        }
        let Some(twin) = self.twin(point.precision) else {
            let never = Bytes(u64::MAX);
            let peak = Band { low: never, expected: never, high: never };
            return Ok(Judged { point, peak, held: never, fit: Fit::DoesNotFit });
        };
        let runs = self.runs(&point);
        let known = self.known.free.get(&point).copied();
        let free = known.unwrap_or_else(|| twin.unhindered(&runs, point.levers));
        let brief = twin.brief(&runs, point.levers, self.budget, &free);
        self.known.free.insert(point, free);
        let fit = if free.is_unsure && brief.fit == Fit::Fits { Fit::Tight } else { brief.fit };
        let judged = Judged { point, peak: brief.band, held: brief.held, fit };
        if fit == Fit::DoesNotFit {
            self.known.failed.insert(point, (self.budget, judged));
        }
        Ok(judged)
    }

    fn first_regions(&mut self, point: Point) -> Result<Vec<Bytes>, Infallible> {
        // Only the CPU provider's arena is told its sizes by the folder that `fix` writes.
        let twin = self.twin(point.precision).filter(|_| self.tells_arena);
        let found = twin.and_then(|twin| options::single_region(twin, &self.runs(&point), point.levers));
        Ok(found.into_iter().collect())
    }

    fn has(&mut self, precision: Precision) -> bool {
        self.twin(precision).is_some()
    }

    fn microseconds(&mut self, point: Point) -> Option<u64> {
        let (gpu, twin) = (self.gpu?, self.twin(point.precision)?);
        let mut dims = self.dims.clone();
        let mut n_runs = 1;
        if let (Some(batch), Some(rows)) = (&self.batch, point.micro_batch) {
            dims.insert(batch.dim.clone(), rows.try_into().unwrap_or(i64::MAX));
            n_runs = batch.rows.div_ceil(rows);
        }
        let seconds = Work::of(twin.graph(), &twin.sizes(&dims)).seconds_on(gpu, 1.0)?;
        Some((n_runs as f64 * seconds * 1e6) as u64)
    }
}

pub(crate) fn judged(point: Point, judgement: &Judgement) -> Judged {
    let prediction = &judgement.prediction;
    let unsure = prediction.diagnostics.iter().any(|finding| finding.id == "unknown-size");
    let fit = if unsure && judgement.fit == Fit::Fits { Fit::Tight } else { judgement.fit };
    let last = prediction.runs.last().map(|run| run.released.total_allocated_bytes);
    Judged { point, peak: judgement.band, held: last.unwrap_or(prediction.load.total_allocated_bytes), fit }
}
