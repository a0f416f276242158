//! A model compiled once, to be asked many times: at other sizes, one replay each.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_report::check::{ArenaView, BandView, LoadView, RunView, Verdict};

use crate::check::verdict;
use crate::request::Request;
use crate::twin::{Answer, Twin};
use crate::{Error, Model};

/// A model in the memory twin. What ONNX Runtime does to the graph and how it plans it is found
/// once; every question after that infers shapes and replays.
///
/// ```no_run
/// use onnxfit::{Model, Predictor, Provider, Request};
///
/// let model = Model::open("resnet50.onnx")?;
/// let request = Request::new(Provider::Cuda).on("T4")?;
/// let predictor = Predictor::new(&model, &request);
/// for batch in [1, 8, 64] {
///     let predicted = predictor.at(&[("batch".to_owned(), batch)].into())?;
///     println!("{batch}: {} ({})", predicted.device_peak_bytes.expected, predicted.verdict.text());
/// }
/// # Ok::<(), onnxfit::Error>(())
/// ```
pub struct Predictor<'a> {
    twin: Twin<'a>,
    request: &'a Request,
    diagnostics: Vec<Diagnostic>,
}

/// What a session takes at one size.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// The provider's arena after load and after each of three equal runs.
    pub arena: ArenaView,
    /// Everything the process holds on the device, or in the arena of the CPU provider, at its highest.
    pub device_peak_bytes: BandView,
    /// Whether that fits the request's target.
    pub verdict: Verdict,
    /// The dimensions it was made for, those that were assumed included.
    pub dims: BTreeMap<String, i64>,
    /// What could not be predicted, and what was assumed.
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Predictor<'a> {
    /// A model as a session with the request's options runs it.
    pub fn new(model: &'a Model, request: &'a Request) -> Self {
        let session = model.session(request);
        Self { twin: Twin::of(session.model, session.plan, request), request, diagnostics: session.diagnostics }
    }

    /// The request's own sizes.
    pub fn as_requested(&self) -> Result<Predicted, Error> {
        self.at(&self.request.dims)
    }

    /// Other sizes of named dimensions.
    pub fn at(&self, dims: &BTreeMap<String, i64>) -> Result<Predicted, Error> {
        self.at_shapes(dims, &self.request.shapes)
    }

    /// Other sizes of named dimensions, and other shapes of inputs.
    pub fn at_shapes(
        &self,
        dims: &BTreeMap<String, i64>,
        shapes: &BTreeMap<String, Vec<i64>>,
    ) -> Result<Predicted, Error> {
        self.twin.refuse(dims, shapes)?;
        let Answer { judgement, dims, diagnostics } = self.twin.ask_at(dims, shapes);
        let diagnostics = [self.diagnostics.as_slice(), &diagnostics].concat();
        let band = &judgement.band;
        Ok(Predicted {
            verdict: verdict(self.request, &judgement, &diagnostics),
            device_peak_bytes: BandView {
                low: band.low.into(),
                expected: band.expected.into(),
                high: band.high.into(),
            },
            arena: arena_view(&judgement.prediction),
            dims,
            diagnostics,
        })
    }
}

pub(crate) fn arena_view(prediction: &onnxfit_memory::Prediction) -> ArenaView {
    let run = |run: &onnxfit_memory::RunPrediction| RunView {
        peak_in_use_bytes: run.peak_in_use_bytes.into(),
        total_bytes: run.total_allocated_bytes.into(),
    };
    ArenaView {
        load: LoadView {
            in_use_bytes: prediction.load.in_use_bytes.into(),
            total_bytes: prediction.load.total_allocated_bytes.into(),
        },
        runs: prediction.runs.iter().map(run).collect(),
    }
}
