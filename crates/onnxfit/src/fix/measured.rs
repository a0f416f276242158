//! The half-precision model of a plan, as `convert` makes it: ranges measured, answers compared, and
//! nodes that disagree step back.
//!
//! What steps back takes memory that the plan did not count; that is said.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::TensorSource;
use onnxfit_rewrite::half::HalfType;

use crate::changes::BatchSplit;
use crate::convert::BytesIn;
use crate::convert::halve::{Halved, Halving, halve};
use crate::gate::{Gate, Kind};
use crate::progress::Progress;
use crate::request::{Provider, Request};
use crate::samples::Samples;
use crate::session_graph::session_graph;
use crate::twin::Twin;
use crate::verify::VerifyInputs;
use crate::{Error, Model};

/// Rows that are enough to measure ranges on; more only cost time.
const ROWS_ENOUGH: i64 = 4;

/// What is to be converted for a plan.
pub(super) struct Measured<'a> {
    pub(super) model: &'a Model,
    pub(super) source: &'a dyn TensorSource,
    pub(super) request: &'a Request,
    pub(super) dims: &'a BTreeMap<String, i64>,
    pub(super) axes: Option<&'a BatchSplit>,
    pub(super) from: &'a VerifyInputs,
    pub(super) library: &'a Path,
    pub(super) worker: &'a Path,
    /// A folder for files that nobody keeps.
    pub(super) desk: &'a Path,
    /// The file to write.
    pub(super) path: &'a Path,
}

impl Measured<'_> {
    /// Converts, and writes the result whether its answers are good or not.
    pub(super) fn write(&self, diagnostics: &mut Vec<Diagnostic>, progress: &dyn Progress) -> Result<Halved, Error> {
        let mut dims = self.dims.clone();
        if let Some(rows) = self.axes.and_then(|axes| dims.get_mut(&axes.dim)) {
            *rows = (*rows).min(ROWS_ENOUGH);
        }
        let request =
            Request { provider: Provider::Cpu, target: None, arena_limit: None, dims, ..self.request.clone() };
        let graph: &GraphModel = self.model.graph();
        let samples = match self.from {
            VerifyInputs::File(path) => Samples::of_path(path, graph, &BytesIn::default())?,
            VerifyInputs::Seeded(seed) => Samples::made_up(graph, &request, *seed, 1, diagnostics)?,
        };
        let halving = Halving {
            model: graph,
            source: self.source,
            target: HalfType::Float16,
            keep_io: true,
            samples: Some(&samples),
            gate: Gate::of(Kind::Float16),
            library: self.library,
            worker: self.worker,
            desk: self.desk,
            path: self.path,
        };
        let halved = halve(&halving, progress)?;
        let n_rounds = halved.rounds.len();
        if n_rounds > 0 {
            let message = format!(
                "half precision stepped back {n_rounds} times until the answers agreed: {} nodes compute in float",
                halved.outcome.report.islands.len()
            );
            diagnostics.push(Diagnostic::note("half-stepped-back", message));
        }
        Ok(halved)
    }
}

/// Says so if what was written has a higher peak than what was planned, because some `what` stay float.
pub(super) fn say_if_more(
    planned: &Twin<'_>,
    written: &Twin<'_>,
    (dims, budget): (&BTreeMap<String, i64>, Bytes),
    what: &str,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let peak =
        |twin: &Twin<'_>| twin.ask_sequence(std::slice::from_ref(dims), twin.request_levers(), None).band.expected;
    let (before, after) = (peak(planned), peak(written));
    if after > before {
        let message = format!("{what} that stay float take memory: the peak is {after} where {before} was planned");
        diagnostics.push(match after > budget {
            true => Diagnostic::warning("float-takes-more", message)
                .with_hint("the whole plan may not fit: leave more room"),
            false => Diagnostic::note("float-takes-more", message),
        });
    }
}

/// Says so if the model that was written takes more than the one that was planned with.
pub(super) fn compare_with_plan(
    planned: &Twin<'_>,
    halved: &Halved,
    source: &dyn TensorSource,
    request: &Request,
    (dims, budget): (&BTreeMap<String, i64>, Bytes),
    diagnostics: &mut Vec<Diagnostic>,
) {
    let graph = session_graph(&halved.outcome.model, &halved.outcome.source(source), request);
    say_if_more(planned, &Twin::new(&graph.model, request), (dims, budget), "nodes", diagnostics);
}
