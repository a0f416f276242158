//! A model: its graph and what surrounds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use onnxfit_onnx::proto::{FunctionProto, ModelProto, OperatorSetIdProto};

use crate::error::GraphError;
use crate::graph::Graph;

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The main graph.
    pub graph: Graph,
    header: Arc<ModelProto>,
    opset_imports: BTreeMap<String, i64>,
}

impl Model {
    /// Builds a model from a decoded file.
    pub fn from_proto(proto: &ModelProto) -> Result<Self, GraphError> {
        let graph = Graph::from_proto(proto.graph.as_ref().unwrap_or(&Default::default()))?;
        // Field by field: the graph is the larger part by far, and was read above.
        let header = ModelProto {
            ir_version: proto.ir_version,
            opset_import: proto.opset_import.clone(),
            producer_name: proto.producer_name.clone(),
            producer_version: proto.producer_version.clone(),
            domain: proto.domain.clone(),
            model_version: proto.model_version,
            doc_string: proto.doc_string.clone(),
            graph: None,
            metadata_props: proto.metadata_props.clone(),
            training_info: proto.training_info.clone(),
            functions: proto.functions.clone(),
            configuration: proto.configuration.clone(),
        };
        let mut opset_imports = BTreeMap::new();
        for import in &header.opset_import {
            let domain = if import.domain() == "ai.onnx" { "" } else { import.domain() };
            opset_imports.insert(domain.to_owned(), import.version());
        }
        Ok(Self { graph, header: Arc::new(header), opset_imports })
    }

    /// The model as a file has it.
    pub fn to_proto(&self) -> ModelProto {
        ModelProto { graph: Some(self.graph.to_proto()), ..(*self.header).clone() }
    }

    /// The version of an operator set; 1 when the model does not import it, as ONNX Runtime
    /// assumes for its own domains.
    pub fn opset(&self, domain: &str) -> i64 {
        self.opset_imports.get(domain).copied().unwrap_or(1)
    }

    /// All imported operator sets.
    pub fn opset_imports(&self) -> &BTreeMap<String, i64> {
        &self.opset_imports
    }

    /// Imports an operator set, unless the model does so already.
    pub fn import_opset(&mut self, domain: &str, version: i64) {
        if !self.opset_imports.contains_key(domain) {
            self.opset_imports.insert(domain.to_owned(), version);
            let import = OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
            Arc::make_mut(&mut self.header).opset_import.push(import);
        }
    }

    /// The version of the file format.
    pub fn ir_version(&self) -> i64 {
        self.header.ir_version()
    }

    /// The operators that the model defines itself.
    pub fn functions(&self) -> &[FunctionProto] {
        &self.header.functions
    }

    /// Who wrote the model, as `pytorch 2.9.0`.
    pub fn producer(&self) -> String {
        [self.header.producer_name(), self.header.producer_version()].join(" ").trim().to_owned()
    }

    /// A note that travels with the model.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata_props.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
    }
}
