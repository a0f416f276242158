//! `split`: a model too large for one GPU, in stages that each fit one of several.
//!
//! The twin says what every real stage takes; the search only proposes. Whole model and stages are
//! run on the same inputs before the folder appears.

mod steps;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model as GraphModel;
use onnxfit_plan::{Fit, stages};
use onnxfit_report::DiagnosticView;
use onnxfit_report::check::BandView;
use onnxfit_report::split::{SplitView, StageView, TensorView};
use onnxfit_rewrite::stages::{Stage, cut};

use crate::progress::Progress;
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::{Contents, Judgement, Twin};
use crate::verify::VerifyInputs;
use crate::{Error, Model, weights};

use steps::Whole;

/// How a model is to be cut.
#[derive(Clone, Debug)]
pub struct SplitOptions {
    /// Into how many stages.
    pub n_stages: usize,
    /// The folder to write; `None` only plans.
    pub output: Option<PathBuf>,
    /// The model's name.
    pub name: Option<String>,
    /// Inputs of the proof; `None` skips it.
    pub verify: Option<VerifyInputs>,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// Install nothing.
    pub offline: bool,
    /// A program that serves runs when started with `__worker`: the command itself.
    pub worker: PathBuf,
}

/// Cuts a model into stages, writes them, and proves that they answer as the whole does.
pub fn split(
    model: &Model,
    request: &Request,
    options: &SplitOptions,
    progress: &dyn Progress,
) -> Result<SplitView, Error> {
    let whole = Whole::of(model, request)?;
    let source = weights::source(model, options.random_weights);
    let n_stages = options.n_stages;
    let proposed = stages::cut(&whole.steps, n_stages).ok_or_else(|| {
        let n_steps = whole.steps.live_bytes.len();
        let message = format!("a graph of {n_steps} nodes has no places for {n_stages} stages");
        Error::Rewrite { message, hint: Some("ask for fewer stages, at least two".to_owned()) }
    })?;
    let judge_one = |from: usize, to: usize| -> Result<(Stage, Judgement), Error> {
        let n_steps = whole.steps.live_bytes.len();
        let cuts: Vec<usize> = [from, to].into_iter().filter(|at| *at > 0 && *at < n_steps).collect();
        let mut all = cut(model.graph(), &whole.open, &cuts).map_err(stage_error)?;
        let stage = all.swap_remove(usize::from(from > 0));
        let judgement = judge(&stage, &whole, request, source.as_ref())?;
        Ok((stage, judgement))
    };
    let mut n_asked = 0;
    let positions = stages::balance(&proposed, whole.steps.live_bytes.len(), |from, to| {
        n_asked += 1;
        progress.doing(&format!("replaying stage {n_asked}"));
        judge_one(from, to).map(|(_, judgement)| judgement.band.expected)
    })?;

    let budget = request.budget();
    let n_devices = request.target.as_ref().and_then(|target| target.instance).map(|instance| instance.device_count);
    let mut view = SplitView {
        schema: "onnxfit.split/1",
        fits: true,
        model: model.name(),
        name: onnxfit_deploy::plain_name(&options.name.clone().unwrap_or_else(|| crate::deploy::name_of(model))),
        target: request.target_view(),
        n_devices,
        dims: whole.dims.clone(),
        whole_bytes: band(&whole.judgement),
        stages: Vec::new(),
        traffic_bytes: Bytes::ZERO.into(),
        verify: None,
        files: Vec::new(),
        diagnostics: Vec::new(),
    };
    let mut diagnostics: Vec<Diagnostic> = whole.diagnostics.clone();
    let mut cut_stages = Vec::new();
    let mut traffic = Bytes::ZERO;
    let mut bounds = vec![0];
    bounds.extend(&positions);
    bounds.push(whole.steps.live_bytes.len());
    for (number, pair) in bounds.windows(2).enumerate() {
        let (stage, judgement) = judge_one(pair[0], pair[1])?;
        let fits = budget.is_none() || judgement.fit == Fit::Fits;
        view.fits &= fits;
        let unsure = judgement.prediction.diagnostics.iter().any(|finding| finding.id == "unknown-size");
        if unsure {
            let message = format!("stage {} has sizes that could not be predicted", number + 1);
            diagnostics.push(Diagnostic::warning("unknown-size", message));
        }
        let inputs: Vec<TensorView> = stage.inputs.iter().map(|name| whole.tensor(model.graph(), name)).collect();
        let from_others = inputs.iter().filter(|input| !input.is_fed).map(|input| input.bytes.0);
        traffic += from_others.sum::<Bytes>();
        view.stages.push(StageView {
            name: format!("{}_stage{}", view.name, number + 1),
            n_nodes: pair[1] - pair[0],
            weights_bytes: judgement.prediction.breakdown.weights_bytes.into(),
            peak_bytes: band(&judgement),
            fits,
            inputs,
            outputs: stage.outputs.iter().map(|name| whole.tensor(model.graph(), name)).collect(),
        });
        cut_stages.push(stage);
    }
    view.traffic_bytes = traffic.into();
    if let Some(devices) = n_devices.filter(|devices| (*devices as usize) < n_stages) {
        view.fits = false;
        let message = format!("{n_stages} stages want as many GPUs, and {} has {devices}", view.target.name);
        let hint = "stages on one GPU share its memory; take an instance type with more of them".to_owned();
        diagnostics.push(Diagnostic::warning("too-few-devices", message).with_hint(hint));
    }
    if let (Some(output), true) = (&options.output, view.fits) {
        let writing = write::Writing { model, request, options, whole: &whole, source: source.as_ref() };
        writing.all(output, &cut_stages, &mut view, &mut diagnostics, progress)?;
    }
    view.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
    Ok(view)
}

/// What a stage takes, fed with tensors as large as they are in the whole model.
fn judge(
    stage: &Stage,
    whole: &Whole,
    request: &Request,
    source: &dyn onnxfit_onnx::TensorSource,
) -> Result<Judgement, Error> {
    let graph = GraphModel::from_proto(&stage.model)
        .map_err(|source| Error::Graph { path: PathBuf::from("a stage"), source: Box::new(source) })?;
    let fed = |name: &&String| whole.shapes.contains_key(*name);
    let request = Request {
        dims: whole.dims.clone(),
        shapes: stage.inputs.iter().filter(fed).map(|name| (name.clone(), whole.shapes[name].clone())).collect(),
        ..request.clone()
    };
    let session = session_graph(&graph, source, &request);
    let contents = Contents { integers: whole.contents.clone(), ..Contents::default() };
    let twin = Twin::new(&session.model, &request).fed(contents);
    let runs: Vec<BTreeMap<String, i64>> = vec![request.dims.clone(); crate::twin::N_RUNS];
    Ok(twin.ask_sequence(&runs, twin.request_levers(), budget_of(&request)))
}

/// The memory of one device.
fn budget_of(request: &Request) -> Option<Bytes> {
    match request.provider {
        Provider::Cuda => request.budget(),
        Provider::Cpu => request.limit(),
    }
}

fn band(judgement: &Judgement) -> BandView {
    let band = &judgement.band;
    BandView { low: band.low.into(), expected: band.expected.into(), high: band.high.into() }
}

fn stage_error(error: onnxfit_rewrite::stages::StageError) -> Error {
    Error::Rewrite { message: error.to_string(), hint: None }
}

#[cfg(test)]
mod tests;
