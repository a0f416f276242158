//! `check`: does it fit, what holds the bytes, which node fails.

use onnxfit_base::{Diagnostic, Severity};
use onnxfit_graph::Graph;
use onnxfit_memory::simulate::Failure;
use onnxfit_memory::trace::{Owner, OwnerKind};
use onnxfit_plan::Fit;
use onnxfit_report::DiagnosticView;
use onnxfit_report::check::{BandView, BreakdownView, CheckView, FailureView, LiveView, PeakView, Verdict};

use crate::predictor::arena_view;
use crate::request::Request;
use crate::settings::settings;
use crate::timeline::timeline;
use crate::twin::{Answer, Judgement, Twin};
use crate::{Error, Model, blame};

/// Says whether a model fits, with everything that the answer rests on.
pub fn check(model: &Model, request: &Request) -> Result<CheckView, Error> {
    let session = model.session(request);
    let twin = Twin::of(session.model, session.plan, request);
    twin.refuse(&request.dims, &request.shapes)?;
    let mut answer = twin.ask();
    answer.diagnostics.splice(0..0, session.diagnostics);
    Ok(view(model, twin.graph(), request, answer))
}

fn view(model: &Model, graph: &Graph, request: &Request, answer: Answer) -> CheckView {
    let Answer { judgement, dims, mut diagnostics } = answer;
    let verdict = verdict(request, &judgement, &diagnostics);
    if let Some(target) = &request.target {
        diagnostics.extend(target.notes.iter().cloned());
    }
    let Judgement { prediction, band, failure, .. } = &judgement;
    let highest = prediction.highest_run().map(|run| prediction.peak(run));
    CheckView {
        schema: "onnxfit.check/1",
        verdict,
        model: model.name(),
        n_nodes: model.graph().graph.n_nodes(),
        target: request.target_view(),
        dims,
        arena: arena_view(prediction),
        device_peak_bytes: BandView { low: band.low.into(), expected: band.expected.into(), high: band.high.into() },
        breakdown: BreakdownView {
            weights_bytes: prediction.breakdown.weights_bytes.into(),
            activations_bytes: prediction.breakdown.activations_bytes.into(),
            workspace_bytes: prediction.breakdown.workspace_bytes.into(),
            arena_slack_bytes: prediction.breakdown.arena_slack_bytes.into(),
            context_bytes: prediction.breakdown.context_bytes.into(),
        },
        peak: highest.map_or_else(PeakView::default, |peak| peak_view(&peak, graph)),
        failure: failure.as_ref().map(failure_view),
        growth: Vec::new(),
        diagnostics: diagnostics.iter().map(DiagnosticView::from).collect(),
        settings: settings(request),
        timeline: timeline(prediction, failure.as_ref(), request),
    }
}

/// Fits only when even the high end does; what is not known can only add, and sizes that contradict
/// the graph are not those of any run.
pub(crate) fn verdict(request: &Request, judgement: &Judgement, diagnostics: &[Diagnostic]) -> Verdict {
    if diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
        return Verdict::Unknown;
    }
    let unsure = diagnostics.iter().any(|finding| matches!(finding.id, "unknown-size" | "shape-contradiction"));
    match judgement.fit {
        Fit::DoesNotFit => Verdict::DoesNotFit,
        _ if unsure || request.budget().or(request.limit()).is_none() => Verdict::Unknown,
        Fit::Tight => Verdict::Tight,
        Fit::Fits => Verdict::Fits,
    }
}

fn peak_view(peak: &onnxfit_memory::PeakReport, graph: &Graph) -> PeakView {
    let (node, op_type) = peak.moment.node.clone().unwrap_or_default();
    let live = peak.moment.parts.iter().map(|part| LiveView {
        tensor: tensor_text(&part.owner),
        bytes: part.bytes.into(),
        producer: part.owner.node.to_string(),
    });
    let (dominant, layers) = (blame::dominant(&peak.moment), blame::layers(&peak.moment, graph));
    let (block_node, _) = peak.moment.block_node.clone().unwrap_or_default();
    PeakView { node, op_type, live: live.collect(), block_node, dominant, layers }
}

fn tensor_text(owner: &Owner) -> String {
    match owner.name.as_ref() {
        _ if owner.kind == OwnerKind::PatternGap => owner.kind.as_str().to_owned(),
        "" => owner.kind.as_str().to_owned(),
        name => name.to_owned(),
    }
}

fn failure_view(failure: &Failure) -> FailureView {
    let (node, op_type) =
        failure.node.as_ref().map_or_else(Default::default, |node| (node.name.clone(), node.op_type.clone()));
    FailureView {
        node,
        op_type,
        requested_bytes: failure.error.requested_bytes().into(),
        available_bytes: failure.error.available_bytes().unwrap_or_default().into(),
        message: failure.message(),
    }
}

#[cfg(test)]
mod tests;
