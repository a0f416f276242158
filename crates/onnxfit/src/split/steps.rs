//! A whole model as the search for cuts sees it.

use std::collections::BTreeMap;

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::{Graph, Model as GraphModel, ValueId};
use onnxfit_plan::stages::Steps;
use onnxfit_report::split::TensorView;
use onnxfit_rewrite::stages::{Chain, can_cross};
use onnxfit_shape::{Bindings, GraphFacts, infer};

use super::stage_error;
use crate::request::Request;
use crate::session_graph::session_graph;
use crate::twin::{Judgement, Twin};
use crate::{Error, Model, sizes};

/// Everything known of the whole model at the request's sizes.
pub(super) struct Whole {
    /// What the twin says of it.
    pub(super) judgement: Judgement,
    /// The dimensions, those that were assumed included.
    pub(super) dims: BTreeMap<String, i64>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Shapes with open sizes as they are.
    pub(super) open: GraphFacts,
    /// Every shape of this request, by value.
    pub(super) shapes: BTreeMap<String, Vec<i64>>,
    /// What small whole-number tensors hold: a stage cannot find it out again.
    pub(super) contents: BTreeMap<String, Vec<i64>>,
    /// How large each value is.
    bytes: BTreeMap<String, Bytes>,
    /// The nodes as a chain.
    pub(super) steps: Steps,
}

impl Whole {
    pub(super) fn of(model: &Model, request: &Request) -> Result<Self, Error> {
        let session = session_graph(model.graph(), model.file().weights(), request);
        let twin = Twin::new(&session.model, request);
        twin.refuse(&request.dims, &request.shapes)?;
        let answer = twin.ask();
        if let Some(slip) = answer.diagnostics.iter().find(|one| one.severity == onnxfit_base::Severity::Error) {
            return Err(Error::Binding(slip.message.clone(), slip.hint.clone()));
        }
        let mut diagnostics = session.diagnostics.clone();
        diagnostics.extend(answer.diagnostics.iter().cloned());
        let graph = &model.graph().graph;
        let dims = answer.dims.clone();
        let bindings = Bindings {
            dims: dims.clone(),
            inputs: request.shapes.clone(),
            values: sizes::known_values(graph, &dims),
            ..Bindings::default()
        };
        let bound = infer(model.graph(), &bindings).graph;
        let open = infer(model.graph(), &Bindings::default()).graph;
        let (mut shapes, mut contents, mut bytes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (id, value) in graph.values() {
            let fact = bound.fact(id);
            if let Some(shape) = fact.concrete() {
                let shape = shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
                shapes.insert(value.name.clone(), shape);
            }
            if let Some(known) = fact.known_ints() {
                contents.insert(value.name.clone(), known);
            }
            bytes.insert(value.name.clone(), fact.concrete_bytes().unwrap_or_default());
        }
        let size = |id: ValueId| bytes.get(&graph.value(id).name).copied().unwrap_or_default();
        let steps = chain(graph, &open, &size)?;
        Ok(Self { judgement: answer.judgement, dims, diagnostics, open, shapes, contents, steps, bytes })
    }

    /// A value as answers show it.
    pub(super) fn tensor(&self, model: &GraphModel, name: &str) -> TensorView {
        let graph = &model.graph;
        let value = graph.value_named(name);
        TensorView {
            name: name.to_owned(),
            bytes: self.bytes.get(name).copied().unwrap_or_default().into(),
            is_fed: value.is_some_and(|id| graph.value(id).is_input),
            is_answer: value.is_some_and(|id| graph.value(id).is_output),
        }
    }
}

/// The steps with their weights, what is alive at each, and what crosses before it.
fn chain(graph: &Graph, facts: &GraphFacts, size: &dyn Fn(ValueId) -> Bytes) -> Result<Steps, Error> {
    let cuttable = Chain::of(graph).map_err(stage_error)?;
    let order = &cuttable.order;
    let mut chain = Steps::default();
    let mut numbers: BTreeMap<ValueId, usize> = BTreeMap::new();
    // The step that makes each value, and the last that reads it.
    let mut made: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut read: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (at, id) in order.iter().enumerate() {
        let mut of_step = Vec::new();
        for weight in cuttable.weights(graph, *id) {
            let number = *numbers.entry(weight).or_insert_with(|| {
                let tensor = graph.value(weight).tensor();
                chain.weight_bytes.push(tensor.and_then(|tensor| tensor.size_bytes().ok()).unwrap_or_default());
                chain.weight_bytes.len() - 1
            });
            of_step.push(number);
        }
        chain.weights.push(of_step);
        for value in cuttable.reads(graph, *id) {
            read.insert(value, at);
        }
        for value in graph.node(*id).outputs.iter().flatten() {
            made.insert(*value, at);
        }
    }
    // Sums over steps, as differences first.
    let mut alive = vec![0i128; order.len() + 1];
    let mut crossing = vec![0i128; order.len() + 1];
    let mut barred = vec![0i64; order.len() + 1];
    for (value, from) in &made {
        let bytes = i128::from(size(*value).get());
        let last = read.get(value).copied().unwrap_or(*from);
        let end = if graph.value(*value).is_output { order.len() - 1 } else { last };
        alive[*from] += bytes;
        alive[end + 1] -= bytes;
        // It crosses every cut after the step that makes it, up to the last that reads it.
        crossing[*from + 1] += bytes;
        crossing[last + 1] -= bytes;
        if !can_cross(facts.fact(*value)) {
            barred[*from + 1] += 1;
            barred[last + 1] -= 1;
        }
    }
    let (mut live, mut across, mut n_barred) = (0i128, 0i128, 0i64);
    for at in 0..order.len() {
        live += alive[at];
        across += crossing[at];
        n_barred += barred[at];
        let bytes = |sum: i128| Bytes(u64::try_from(sum).unwrap_or(u64::MAX));
        chain.live_bytes.push(bytes(live));
        chain.crossing_bytes.push((n_barred == 0).then(|| bytes(across)));
    }
    Ok(chain)
}
