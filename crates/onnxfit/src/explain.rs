//! `explain`: what an error log says, with the model and the card at hand.

mod sizes;

use std::io::{self, Read};

use onnxfit_explain::{Context, DimHint, Explanation, LogReader, ModelHints, TensorHint};
use onnxfit_hardware::Target;
use onnxfit_shape::{Bindings, Expr, infer};

use crate::Model;

/// Bytes read from the log at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What is known besides the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExplainContext<'a> {
    /// The model that was running.
    pub model: Option<&'a Model>,
    /// Where it ran.
    pub target: Option<&'a Target>,
    /// The options of the session, as JSON, Python, or whatever was pasted.
    pub options: Option<&'a str>,
}

/// Reads a log to its end and explains it.
pub fn explain(mut log: impl Read, context: ExplainContext<'_>) -> io::Result<Explanation> {
    let mut reader = LogReader::new();
    let mut chunk = vec![0u8; CHUNK_BYTES];
    loop {
        match log.read(&mut chunk) {
            Ok(0) => break,
            Ok(n_read) => reader.feed(&chunk[..n_read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let hints = context.model.map(model_hints);
    let mut explanation = reader.explain(&Context {
        model: hints.as_ref(),
        memory_bytes: context.target.map(|target| target.budget),
        options: context.options,
    });
    if let Some(model) = context.model {
        read_sizes(&mut explanation, model);
    }
    Ok(explanation)
}

/// Where the failing node is in the model, only its own tensors explain the number: that a tensor
/// elsewhere has the same size says nothing.
fn read_sizes(explanation: &mut Explanation, model: &Model) {
    let (Some(name), Some(requested)) = (&explanation.node, explanation.requested_bytes) else { return };
    let graph = &model.graph().graph;
    if !graph.nodes().any(|(_, node)| node.name == *name) {
        return;
    }
    let facts = infer(model.graph(), &Bindings::default()).graph;
    let own = sizes::of_node(graph, &facts, name, requested);
    if !own.is_empty() {
        explanation.readings = own;
    }
    explanation.readings.retain(|reading| reading.is_failing_node);
}

/// Every tensor of the main graph as a product of its dimensions.
fn model_hints(model: &Model) -> ModelHints {
    let graph = &model.graph().graph;
    let facts = infer(model.graph(), &Bindings::default()).graph;
    let mut hints = ModelHints::default();
    for (id, value) in graph.values() {
        if let Some(tensor) = value.tensor() {
            hints.weights_bytes += tensor.size_bytes().unwrap_or_default();
        }
        let fact = facts.fact(id);
        let (Some(element_type), Some(shape)) = (fact.element_type, &fact.shape) else { continue };
        let producer = graph.producer(id).map(|(_, node)| node);
        hints.tensors.push(TensorHint {
            name: value.name.clone(),
            node: producer.map(|node| node.name.clone()),
            op_type: producer.map(|node| node.op_type.clone()),
            dims: shape.iter().map(dim_hint).collect(),
            element_bytes: element_type.bits().div_ceil(8),
        });
    }
    hints
}

fn dim_hint(dim: &Expr) -> DimHint {
    match dim.as_constant().and_then(|number| u64::try_from(number).ok()) {
        Some(number) => DimHint::Known(number),
        None => DimHint::Named(dim.to_string()),
    }
}
