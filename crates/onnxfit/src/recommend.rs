//! `recommend`: the cheapest AWS instances that a model fits on.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_hardware::{Candidate, Price, candidates, gpus};
use onnxfit_plan::Fit;
use onnxfit_report::recommend::{CandidateView, RecommendView};
use onnxfit_report::{DiagnosticView, check::BandView};

use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::{N_RUNS, Twin};
use crate::{Error, Model};

/// Names the instance types that hold a request as it is, cheapest first.
pub fn recommend(model: &Model, request: &Request, region: &str) -> Result<RecommendView, Error> {
    let request = Request { provider: Provider::Cuda, target: None, ..request.clone() };
    let graph = session_graph(model.graph(), model.file().weights(), &request);
    let twin = Twin::new(&graph.model, &request);
    twin.refuse()?;
    let answer = twin.ask();
    let least = smallest_device(&twin, &answer.dims);
    let band = &answer.judgement.band;
    let mut diagnostics = graph.diagnostics;
    diagnostics.extend(answer.diagnostics);
    Ok(RecommendView {
        schema: "onnxfit.recommend/1",
        model: model.name(),
        dims: answer.dims,
        device_peak_bytes: BandView { low: band.low.into(), expected: band.expected.into(), high: band.high.into() },
        least_device_bytes: least.map(Into::into),
        instances: least
            .map(|least| candidates(least, host_bytes(model), region).iter().map(candidate_view).collect())
            .unwrap_or_default(),
        diagnostics: diagnostics.iter().map(DiagnosticView::from).collect(),
    })
}

/// The least memory of any GPU on which the request runs, found by replaying it on each.
pub(crate) fn smallest_device(twin: &Twin<'_>, dims: &BTreeMap<String, i64>) -> Option<Bytes> {
    let mut budgets: Vec<Bytes> = gpus().iter().map(|gpu| gpu.cuda_total().0).collect();
    budgets.sort_unstable();
    budgets.dedup();
    let runs = vec![dims.clone(); N_RUNS];
    let fits = |budget: &Bytes| twin.ask_sequence(&runs, twin.request_levers(), Some(*budget)).fit == Fit::Fits;
    budgets.into_iter().find(fits)
}

/// Host memory that loading takes: the file twice, and a process with CUDA.
///
/// ort-memory: parsing holds the file and its tensors at once; 1 to 5 GB of host memory for a CUDA
/// process (onnxruntime#13662).
pub(crate) fn host_bytes(model: &Model) -> Bytes {
    let file = model.file().size();
    Bytes::gib(2) + file + file
}

fn candidate_view(candidate: &Candidate) -> CandidateView {
    let basis = |price: &Price| format!("{}, {}", price.region, price.date);
    CandidateView {
        name: candidate.instance.name.clone(),
        gpu: candidate.gpu.key.clone(),
        budget_bytes: candidate.budget.into(),
        spare_bytes: candidate.device_spare.into(),
        host_memory_bytes: candidate.instance.host_memory.into(),
        usd_per_hour: candidate.price.as_ref().map(|price| price.usd_per_hour),
        spot_usd_per_hour: candidate.spot.as_ref().map(|price| price.usd_per_hour),
        price_basis: candidate.price.as_ref().map(basis).unwrap_or_default(),
        install: candidate.install.clone(),
        notes: candidate.notes.iter().map(DiagnosticView::from).collect(),
    }
}
