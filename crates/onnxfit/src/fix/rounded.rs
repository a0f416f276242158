//! The plan with integer weights: what the twin judges, and the model that `quantize` makes of it.
//!
//! The plan counts with every weight at its smallest. Layers that step back so that the gate holds
//! take more than that; it is said if they do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_onnx::TensorSource;
use onnxfit_plan::Precision;
use onnxfit_quantize::weights::{WeightOnly, WeightOptions};
use onnxfit_quantize::{Choice, Level};
use onnxfit_report::quantize::QuantizeView;
use onnxfit_rewrite::inline::inline_functions;

use super::FixOptions;
use crate::convert::BytesIn;
use crate::progress::Progress;
use crate::quantize::{QuantizeOptions, Scheme, quantize};
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::Twin;
use crate::verify::VerifyInputs;
use crate::{Error, Model};

/// The level of weights that a precision means.
fn level(precision: Precision) -> Option<Level> {
    match precision {
        Precision::Weights8 => Some(Level::Int8),
        Precision::Weights4 => Some(Level::Int4),
        Precision::Original | Precision::Half | Precision::Bfloat16 => None,
    }
}

/// The model with its weights as small as this precision allows, ready to be judged; `None` if it has
/// none that may change.
pub(super) fn rounded_twin<'a>(
    model: &Model,
    source: &dyn TensorSource,
    request: &'a Request,
    precision: Precision,
) -> Option<Twin<'a>> {
    let smallest = level(precision)?;
    let inlined = inline_functions(model.graph()).ok()?;
    let graph = inlined.as_ref().unwrap_or(model.graph());
    let only = WeightOnly::new(graph, source, WeightOptions { smallest, ..WeightOptions::default() });
    let choice: Choice = only.layers().iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    let outcome = only.build(&choice).ok().filter(|_| !choice.is_empty())?;
    let session = session_graph(&outcome.model, &outcome.pieces.source(source), request);
    Some(Twin::of(Cow::Owned(session.model.into_owned()), None, request))
}

/// Rounds the weights, compares the answers, and writes the model; nothing is written if they move
/// too far.
pub(super) fn write_rounded(
    model: &Model,
    request: &Request,
    options: &FixOptions,
    precision: Precision,
    path: &Path,
    diagnostics: &mut Vec<Diagnostic>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Some(smallest) = level(precision) else { return Ok(()) };
    let rounding = QuantizeOptions {
        scheme: Scheme::Weights { smallest, compensate: false, unseen: options.verify.is_none() },
        output: path.to_owned(),
        calibration: match &options.verify {
            Some(VerifyInputs::File(file)) => Some(file.clone()),
            _ => None,
        },
        pixels: BytesIn::default(),
        per_channel: true,
        reduce_range: false,
        exclude: Default::default(),
        seed: match options.verify {
            Some(VerifyInputs::Seeded(seed)) => seed,
            _ => 0,
        },
        random_weights: options.random_weights,
        max_drop: None,
        metric_command: None,
        force: options.force,
        offline: options.offline,
        worker: options.worker.clone(),
    };
    let here = Request { provider: Provider::Cpu, target: None, arena_limit: None, ..request.clone() };
    let view = quantize(model, &here, &rounding, progress)?;
    if !view.quantized {
        return Err(Error::Rewrite {
            message: format!("integer weights would do, but the answers move too far: {}", view.stop_reason),
            hint: Some("ask for fewer rows, or for a larger target".to_owned()),
        });
    }
    diagnostics.push(Diagnostic::note("weights-rounded", said(&view)));
    Ok(())
}

fn said(view: &QuantizeView) -> String {
    let n_back = view.layers.iter().filter(|layer| layer.reason.starts_with("stepped back")).count();
    let compared = match &view.verify {
        Some(verify) => format!("{} {:.2e}, {}", view.error_name, view.error, verify.how),
        None => "not compared".to_owned(),
    };
    format!(
        "{} of {} weights are integers now, the others stepped back: {compared}",
        view.layers.len() - n_back,
        view.layers.len()
    )
}

/// Says so if the model that was written takes more than the one that was planned with.
pub(super) fn compare_with_plan(
    planned: &Twin<'_>,
    written: &Path,
    request: &Request,
    (dims, budget): (&BTreeMap<String, i64>, Bytes),
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Ok(written) = Model::open(written) else { return };
    let graph = session_graph(written.graph(), written.file().weights(), request);
    super::measured::say_if_more(planned, &Twin::new(&graph.model, request), (dims, budget), "weights", diagnostics);
}
