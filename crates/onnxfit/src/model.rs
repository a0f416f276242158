//! A model file and its graph.

use std::path::Path;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::ModelFile;

use crate::Error;
use crate::kept::{KeptSessions, Session};
use crate::request::Request;

/// A model: the file, and the graph that it describes.
#[derive(Debug)]
pub struct Model {
    file: ModelFile,
    graph: GraphModel,
    kept: KeptSessions,
}

impl Model {
    /// Reads a model file; no weight is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = ModelFile::open(path)?;
        let graph = GraphModel::from_proto(&file.proto)
            .map_err(|source| Error::Graph { path: file.path().to_owned(), source: Box::new(source) })?;
        Ok(Self { file, graph, kept: KeptSessions::default() })
    }

    /// The file.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The graph.
    pub fn graph(&self) -> &GraphModel {
        &self.graph
    }

    /// What a session with the request's options makes of the graph, kept for the next one alike.
    pub(crate) fn session(&self, request: &Request) -> Session<'_> {
        self.kept.session(&self.graph, self.file.weights(), request)
    }

    /// The path as text, for answers.
    pub fn name(&self) -> String {
        self.file.path().display().to_string()
    }
}
