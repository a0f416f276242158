//! The graph that a session really runs: the model's, after what ONNX Runtime does to it at load.

use onnxfit_base::Diagnostic;
use onnxfit_graph::Model as GraphModel;

use crate::Error;
use crate::request::Request;

/// A graph as a session runs it.
pub(crate) struct SessionGraph {
    /// The model.
    pub(crate) model: GraphModel,
    /// What had to be said on the way.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The graph that a session with the request's options runs.
pub(crate) fn session_graph(model: &GraphModel, _request: &Request) -> Result<SessionGraph, Error> {
    Ok(SessionGraph { model: model.clone(), diagnostics: Vec::new() })
}
