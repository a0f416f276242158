//! The graph that a session really runs: the model's, after what ONNX Runtime does to it at load.

use std::borrow::Cow;

use onnxfit_base::Diagnostic;
use onnxfit_graph::Model as GraphModel;
use onnxfit_memory::rewrite::{Level, Provider as RewriteProvider, RewriteOptions, rewrite, rewrite_at_a_glance};
use onnxfit_onnx::TensorSource;
use onnxfit_rewrite::inline::inline_functions;

use crate::request::{OptimizationLevel, Provider, Request};

/// A graph as a session runs it.
pub(crate) struct SessionGraph<'a> {
    /// The model.
    pub(crate) model: Cow<'a, GraphModel>,
    /// What had to be said on the way.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The graph that a session with the request's options runs.
pub(crate) fn session_graph<'a>(
    model: &'a GraphModel,
    weights: &dyn TensorSource,
    request: &Request,
) -> SessionGraph<'a> {
    let options = RewriteOptions {
        level: match request.optimization {
            OptimizationLevel::Disable => Level::Disable,
            OptimizationLevel::Basic => Level::Basic,
            OptimizationLevel::Extended => Level::Extended,
            OptimizationLevel::All => Level::All,
        },
        provider: match request.provider {
            Provider::Cpu => RewriteProvider::Cpu,
            Provider::Cuda => RewriteProvider::Cuda,
        },
        ort_version: major_minor(&request.ort_version),
        ..RewriteOptions::default()
    };
    let mut diagnostics = Vec::new();
    if let Some(model) = rewrite_at_a_glance(model, &options) {
        return SessionGraph { model, diagnostics };
    }
    // The model's own functions first, as `Model` does on loading (graph.cc, Graph::InlineFunctionProto).
    let inlined = inline_functions(model).unwrap_or_else(|error| {
        diagnostics.push(Diagnostic::warning("function-not-inlined", error.to_string()));
        None
    });
    let outcome = rewrite(inlined.as_ref().unwrap_or(model), &options, Some(weights));
    diagnostics.extend(outcome.diagnostics);
    SessionGraph { model: Cow::Owned(outcome.model), diagnostics }
}

/// `1.31.1` as `(1, 31)`.
fn major_minor(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(1), parts.next().unwrap_or(31))
}
