//! What sessions make of an open model whatever its sizes: found once, kept with the model.
//!
//! Which rewrites ONNX Runtime applies, how it plans the graph and what loading leaves follow from
//! optimization level, provider and release. Shapes are inferred and runs replayed for every question.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock};

use onnxfit_base::Diagnostic;
use onnxfit_graph::Model as GraphModel;
use onnxfit_memory::simulate::Compiled;
use onnxfit_onnx::TensorSource;
use onnxfit_shape::Incremental;

use crate::request::{OptimizationLevel, Provider, Request};
use crate::session_graph::{SessionGraph, session_graph};

/// The kept sessions of one model: one for each optimization level and provider, of the release
/// that was asked for first.
#[derive(Debug, Default)]
pub(crate) struct KeptSessions([OnceLock<Kept>; 8]);

#[derive(Debug)]
struct Kept {
    ort_version: String,
    /// The graph that runs, where it is not the model's own.
    rewritten: Option<GraphModel>,
    diagnostics: Vec<Diagnostic>,
    plan: Plan,
}

/// What follows from the graph that runs.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The allocation plan, made when it is first needed.
    pub(crate) compiled: OnceLock<Compiled>,
    /// The shapes that were inferred last.
    pub(crate) shapes: Mutex<Incremental>,
}

/// A graph as a session runs it, and its plan where that is kept.
pub(crate) struct Session<'a> {
    /// The model.
    pub(crate) model: Cow<'a, GraphModel>,
    /// The plan; `None` where every session makes its own.
    pub(crate) plan: Option<&'a Plan>,
    /// What had to be said on the way.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl KeptSessions {
    /// The session of a request; `graph` and `weights` are always those of the same model.
    pub(crate) fn session<'a>(
        &'a self,
        graph: &'a GraphModel,
        weights: &dyn TensorSource,
        request: &Request,
    ) -> Session<'a> {
        let level = match request.optimization {
            OptimizationLevel::Disable => 0,
            OptimizationLevel::Basic => 1,
            OptimizationLevel::Extended => 2,
            OptimizationLevel::All => 3,
        };
        let provider = match request.provider {
            Provider::Cpu => 0,
            Provider::Cuda => 1,
        };
        let kept = self.0[2 * level + provider].get_or_init(|| {
            let SessionGraph { model, diagnostics } = session_graph(graph, weights, request);
            let rewritten = match model {
                Cow::Borrowed(_) => None,
                Cow::Owned(model) => Some(model),
            };
            Kept { ort_version: request.ort_version.clone(), rewritten, diagnostics, plan: Plan::default() }
        });
        if kept.ort_version != request.ort_version {
            let SessionGraph { model, diagnostics } = session_graph(graph, weights, request);
            return Session { model, plan: None, diagnostics };
        }
        let model = Cow::Borrowed(kept.rewritten.as_ref().unwrap_or(graph));
        Session { model, plan: Some(&kept.plan), diagnostics: kept.diagnostics.clone() }
    }
}
