//! A model file and its graph.

use std::path::Path;

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::ModelFile;

use crate::Error;

/// A model: the file, and the graph that it describes.
#[derive(Debug)]
pub struct Model {
    file: ModelFile,
    graph: GraphModel,
}

impl Model {
    /// Reads a model file; no weight is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = ModelFile::open(path)?;
        let graph = GraphModel::from_proto(&file.proto)
            .map_err(|source| Error::Graph { path: file.path().to_owned(), source: Box::new(source) })?;
        Ok(Self { file, graph })
    }

    /// The file.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The graph.
    pub fn graph(&self) -> &GraphModel {
        &self.graph
    }

    /// The path as text, for answers.
    pub fn name(&self) -> String {
        self.file.path().display().to_string()
    }
}
