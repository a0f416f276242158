//! Where weights come from: the model's own files, or made up from a seed.

use onnxfit_graph::{Graph, Model as GraphModel, ValueId};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, RandomWeights, TensorError, TensorSource};
use onnxfit_rewrite::weight_roles::roles;

use crate::Model;

/// The weights of a model, made up where they are absent and a seed is given.
pub(crate) fn source<'a>(model: &'a Model, seed: Option<u64>) -> Box<dyn TensorSource + 'a> {
    match seed {
        Some(seed) => Box::new(RandomWeights::new(model.file().weights(), seed, roles(model.graph()))),
        None => Box::new(Borrowed(model.file().weights())),
    }
}

struct Borrowed<'a>(&'a dyn TensorSource);

impl TensorSource for Borrowed<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<bytes::Bytes, TensorError> {
        self.0.tensor_bytes(tensor)
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        self.0.check(tensor)
    }
}

/// The names of weights whose bytes are nowhere to be had.
pub(crate) fn absent(model: &Model) -> Vec<String> {
    let mut absent = Vec::new();
    collect_absent(&model.graph().graph, model, &mut absent);
    absent
}

fn collect_absent(graph: &Graph, model: &Model, absent: &mut Vec<String>) {
    for id in graph.initializers() {
        if let Some(tensor) = graph.value(*id).tensor()
            && matches!(model.file().weights().check(tensor), Err(TensorError::Absent { .. }))
        {
            absent.push(tensor.name().to_owned());
        }
    }
    for (_, node) in graph.nodes() {
        for (_, body) in node.subgraphs() {
            collect_absent(body, model, absent);
        }
    }
}

/// The number of rows in the smallest table that ids of an input are looked up in.
pub(crate) fn vocab_size(model: &GraphModel) -> Option<u64> {
    let graph = &model.graph;
    let tables = graph.nodes().filter_map(|(_, node)| {
        let is_lookup = node.is("Gather") && node.int("axis").unwrap_or(0) == 0;
        if !is_lookup || !comes_from_input(graph, node.input(1)?) {
            return None;
        }
        let table = graph.constant_tensor(node.input(0)?)?;
        let is_embedding = table.dims.len() == 2 && table.element_type().is_ok_and(DataType::is_float);
        if is_embedding { u64::try_from(table.dims[0]).ok() } else { None }
    });
    tables.min()
}

/// Whether a value is a graph input, perhaps cast or reshaped on the way.
fn comes_from_input(graph: &Graph, value: ValueId) -> bool {
    const STEPS_MAX: usize = 16;
    let mut at = value;
    for _ in 0..STEPS_MAX {
        if graph.value(at).is_input {
            return true;
        }
        let Some((_, node)) = graph.producer(at) else { return false };
        let passes =
            ["Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten"].iter().any(|op_type| node.is(op_type));
        match node.input(0) {
            Some(input) if passes => at = input,
            _ => return false,
        }
    }
    false
}
